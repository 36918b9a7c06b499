"""A lineage that really copies: each thread is a list of its own. What every storage must look like from outside."""

import copy
from dataclasses import dataclass, field, replace


@dataclass
class Checkpoint:
    namespace: str
    checkpoint_id: str
    parent: str | None
    meta: dict
    values: dict[str, bytes]
    renewed: bool = False
    """Stored anew: it has the pending writes that come after it."""

    @property
    def key(self):
        return self.namespace, self.checkpoint_id


@dataclass
class Write:
    namespace: str
    checkpoint_id: str
    task_id: str
    idx: int
    data: bytes

    @property
    def key(self):
        return self.namespace, self.checkpoint_id


@dataclass
class Begin:
    """A run begins here on this thread. Not copied."""

    run_id: str


@dataclass
class Branch:
    """A branch begins here. `seen`: what it shows of all that was before."""

    seen: list


@dataclass
class History:
    events: list = field(default_factory=list)

    def checkpoints(self, events=None):
        """Newest first, each id once."""
        seen = {}
        for event in reversed(self.events if events is None else events):
            if isinstance(event, Checkpoint):
                seen.setdefault(event.key, event)
        return list(seen.values())

    def find(self, namespace, checkpoint_id):
        return next((event for event in self.checkpoints() if event.key == (namespace, checkpoint_id)), None)

    def view(self, end=None):
        """What the newest branch shows, or showed at the event with index `end`."""
        events = self.events[:end]
        begin = max((i for i, event in enumerate(events) if isinstance(event, Branch)), default=None)
        before = [] if begin is None else events[begin].seen
        new = events if begin is None else events[begin + 1 :]
        return before + [event for event in new if not isinstance(event, Begin)]

    def view_at(self, checkpoint):
        """What its branch showed when a checkpoint was put."""
        return self.view(next(i for i, event in enumerate(self.events) if event is checkpoint) + 1)

    def showing(self, checkpoint):
        """What the newest branch shows that shows a checkpoint."""
        ends = [None, *(i for i, event in reversed(list(enumerate(self.events))) if isinstance(event, Branch))]
        return next(view for view in map(self.view, ends) if any(event is checkpoint for event in view))

    def branch(self, checkpoint):
        seen = self.view_at(checkpoint)
        self._tidy(branches=True)
        self.events.append(Branch(seen))

    def is_branched(self):
        return any(isinstance(event, Branch) for event in self.events)

    def writes(self, key, of=None, view=None):
        """The valid pending writes of the newest checkpoint with that key, or of the one that is given.

        Args:
            view: what is visible; by default what the newest branch shows that shows the checkpoint.
        """
        kept = {}
        passed = False
        if view is None:
            shown = of or self.find(*key)
            view = self.events if shown is None else self.showing(shown)
        for event in view:
            if isinstance(event, Checkpoint) and event.key == key and event.renewed and not passed:
                kept = {}
            passed = passed or event is of
            if not isinstance(event, Write) or event.key != key:
                continue
            if event.idx < 0 or (event.task_id, event.idx) not in kept:
                kept[event.task_id, event.idx] = event
        return [kept[place] for place in sorted(kept)]

    def begin(self, run_id):
        if run_id and not any(isinstance(event, Begin) and event.run_id == run_id for event in self.events):
            self.events.append(Begin(run_id))

    def copy(self, at=None, namespace="", keep=None):
        """Raises LookupError if a graph around the checkpoint `at` has not the checkpoint that it was made under."""
        events = self.events
        if at is not None:
            events = events[: self._index((namespace, at)) + 1]
        made = History(copy.deepcopy([event for event in events if not isinstance(event, Begin)]))
        outdated = made._outdated(namespace, at) if namespace else []
        if keep is not None:
            made._keep(keep, outdated, made.find(namespace, at).meta.get("parents", {}).get("") if namespace else at)
        elif outdated:
            made._renew(namespace, at, {event.key for event in outdated})
        return made

    def _renew(self, namespace, at, outdated):
        """A checkpoint and those around it become the newest, those that were not without pending writes."""
        view = self.view()
        cut = self._seen(view, namespace, at)
        path = [self._seen(view, *place) for place in cut.meta["parents"].items()]
        for event in [*sorted(path, key=self._place), cut]:
            writes = [] if event.key in outdated else self.writes(event.key, view=view)
            self.events += [replace(event, renewed=True), *writes]

    def _outdated(self, namespace, at):
        """The checkpoints around the last one that are not the newest of their namespaces."""
        view = self.view()
        newest = {event.namespace: event for event in reversed(self.checkpoints(view))}
        found = []
        for around, id_ in self._seen(view, namespace, at).meta.get("parents", {}).items():
            if around not in newest or newest[around].checkpoint_id != id_:
                if (event := self._seen(view, around, id_)) is None:
                    raise LookupError(id_)
                found.append(event)
        return sorted(found, key=self._place)

    def _place(self, event):
        return next(index for index, one in enumerate(self.events) if one is event)

    def _keep(self, count, outdated, root):
        view = self.view()
        newest = {event.namespace: event for event in reversed(self.checkpoints(view))}
        node = self._seen(view, "", root) if root else newest.get("")
        roots = []
        while node and len(roots) < count:
            roots.append(node)
            before = view[: next(index for index, one in enumerate(view) if one is node)]
            node = node.parent and self._seen(before, "", node.parent)
        if not roots:
            self.events = []
            return
        ids = {event.checkpoint_id for event in roots}
        inner = {
            name: event
            for name, event in newest.items()
            if name and (":" not in name or self._place(event) > self._place(roots[-1]))
        } | {event.namespace: event for event in outdated if event.namespace}
        inner = [
            event
            for event in inner.values()
            if ":" not in event.namespace or event.meta.get("parents", {}).get("") in ids
        ]
        kept = [one for event in (*roots, *inner) for one in (event, *self._rebuilt_from(event, view))]
        self._retain(kept, view, {event.key for event in outdated})

    def at(self, checkpoint_id=None):
        """What was there when a root checkpoint was put; the thread stays the same, so it knows its runs."""
        events = self.events
        if checkpoint_id is not None:
            events = events[: self._index(("", checkpoint_id)) + 1]
        return History(copy.deepcopy(events))

    def roots(self):
        """The ids of the root checkpoints, newest first."""
        return [event.checkpoint_id for event in self.checkpoints() if event.namespace == ""]

    def newest_root(self):
        """The id of the newest root checkpoint of the current branch; None if there is none."""
        found = (event for event in self.checkpoints(self.view()) if event.namespace == "")
        return next((event.checkpoint_id for event in found), None)

    def shows(self, run_id):
        """Whether anything is there that `delete_run` would remove."""
        began = any(isinstance(event, Begin) and event.run_id == run_id for event in self.events)
        put = any(isinstance(event, Checkpoint) and event.meta.get("run_id") == run_id for event in self.events)
        return began and (put or any(True for _ in self._writes_of(run_id)))

    def _index(self, key):
        places = [i for i, event in enumerate(self.events) if isinstance(event, Checkpoint) and event.key == key]
        return places[0]

    def _tidy(self, *, branches=False):
        """Forgets runs, and branches, that nothing is left of."""
        kept, after, is_filled = [], Begin(""), not branches
        for event in reversed(self.events):
            if isinstance(event, Branch):
                kept += [event] if is_filled else []
                is_filled = not branches
            elif not (isinstance(event, Begin) and isinstance(after, Begin)):
                kept.append(event)
                after = event
                is_filled = is_filled or not isinstance(event, Begin)
        self.events = kept[::-1]
        there = {id(event) for event in self.events}
        for event in self.events:
            if isinstance(event, Branch):
                event.seen = [one for one in event.seen if id(one) in there]

    def _writes_of(self, run_id):
        """The pending writes of a run: all until the next one begins."""
        current = None
        for event in self.events:
            if isinstance(event, Begin):
                current = event.run_id
            elif isinstance(event, Write) and current == run_id:
                yield event

    def rollback(self, run_id):
        for index, event in enumerate(self.events):
            if isinstance(event, Begin) and event.run_id == run_id:
                del self.events[index:]
                self._tidy(branches=True)
                return

    def delete_run(self, run_id):
        begin = next(
            (i for i, event in enumerate(self.events) if isinstance(event, Begin) and event.run_id == run_id), None
        )
        if begin is None:
            return
        # Not what was copied from a thread that the same run wrote on.
        own = {id(event) for event in self.events[begin:]}
        doomed = {event.key for event in self.checkpoints() if id(event) in own and event.meta.get("run_id") == run_id}
        answers = {id(write) for write in self._writes_of(run_id)}
        events = [
            event
            for event in self.events
            if isinstance(event, Begin | Branch) or (event.key not in doomed and id(event) not in answers)
        ]
        is_less = len(events) < len(self.events)
        self.events = events
        # What the run leaves (checkpoints that do not tell whose they are) becomes no other run's that nothing is left of.
        self._tidy(branches=is_less)
        self.events = [event for event in self.events if not (isinstance(event, Begin) and event.run_id == run_id)]

    def prune(self, tagged=()):
        """Keeps also what was there at each root checkpoint in `tagged`. Returns False if one is on a branch that was left: then
        nothing is pruned.
        """
        view = self.view()
        if any(self._seen(view, "", checkpoint_id) is None for checkpoint_id in tagged):
            return False
        kept = self._newest(view)
        for checkpoint_id in tagged:
            kept += self._newest(History(self.events[: self._index(("", checkpoint_id)) + 1]).view())
        if kept:
            self._retain(kept, view)
        return True

    def _newest(self, view):
        """The newest checkpoint of each namespace, with what delta channels are rebuilt from."""
        newest = {event.namespace: event for event in reversed(self.checkpoints(view))}
        return [one for event in newest.values() for one in (event, *self._rebuilt_from(event, view))]

    def _rebuilt_from(self, node, view):
        found = []
        missing = set(node.meta.get("counters_since_delta_snapshot", {})) - node.values.keys()
        while missing and node.parent and (node := self._seen(view, node.namespace, node.parent)):
            found.append(node)
            missing -= node.values.keys()
        return found

    def _retain(self, kept, view, bare=()):
        """Only these checkpoints stay, with those of their pending writes that a view shows; without any those of `bare`."""
        parents = {event.key for event in kept}
        events = []
        for event in self.events:
            if isinstance(event, Begin):
                events.append(event)
            elif isinstance(event, Checkpoint):
                if any(event is one for one in kept):
                    if (event.namespace, event.parent) not in parents:
                        event.parent = None
                    events.append(event)
            elif (
                isinstance(event, Write)
                and event.key in parents
                and event.key not in bare
                and any(event is one for one in self.writes(event.key, view=view))
            ):
                events.append(event)
        self.events = events
        self._tidy()

    def ancestors(self, checkpoint_id):
        """A root checkpoint and its ancestors, nearest first; the newest one for None."""
        head = checkpoint_id or self.newest_root()
        node = self.find("", head) if head else None
        ids = []
        while node is not None:
            ids.append(node.checkpoint_id)
            node = self.find("", node.parent) if node.parent else None
        return ids

    def parts_from(self, checkpoint_id, other, other_id):
        """How two histories differ: common checkpoint, how many each has since, and the first of these."""
        a, b = self.ancestors(checkpoint_id), other.ancestors(other_id)
        common = next((one for one in a if one in b), None)
        ahead, behind = (path.index(common) if common else len(path) for path in (a, b))
        return common, ahead, behind, a[ahead - 1] if ahead else None, b[behind - 1] if behind else None

    def _seen(self, view, namespace, checkpoint_id):
        return next((event for event in self.checkpoints(view) if event.key == (namespace, checkpoint_id)), None)

    def path(self, namespace, checkpoint_id, channel):
        """Ids of the ancestors to read for a channel, and the value found."""
        node, ids = self.find(namespace, checkpoint_id), []
        while node and node.parent and (node := self.find(namespace, node.parent)):
            ids.append(node.checkpoint_id)
            if channel in node.values:
                return ids, node.values[channel]
        return ids, None
