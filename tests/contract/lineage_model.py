"""A lineage that really copies: each thread is a list of its own. What every storage must look like from outside."""

import copy
from dataclasses import dataclass, field


@dataclass
class Checkpoint:
    namespace: str
    checkpoint_id: str
    parent: str | None
    meta: dict
    values: dict[str, bytes]

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

    def writes(self, key, view=None):
        kept = {}
        if view is None:
            newest = self.find(*key)
            view = self.events if newest is None else self.showing(newest)
        for event in view:
            if not isinstance(event, Write) or event.key != key:
                continue
            if event.idx < 0 or (event.task_id, event.idx) not in kept:
                kept[event.task_id, event.idx] = event
        return [kept[place] for place in sorted(kept)]

    def begin(self, run_id):
        if run_id and not any(isinstance(event, Begin) and event.run_id == run_id for event in self.events):
            self.events.append(Begin(run_id))

    def copy(self, at=None):
        events = self.events
        if at is not None:
            events = events[: self._index(("", at)) + 1]
        return History(copy.deepcopy([event for event in events if not isinstance(event, Begin)]))

    def _index(self, key):
        places = [i for i, event in enumerate(self.events) if isinstance(event, Checkpoint) and event.key == key]
        return places[-1]

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

    def prune(self):
        kept = {}
        view = self.view()
        for newest in {event.namespace: event for event in reversed(self.checkpoints(view))}.values():
            node = newest
            missing = set(newest.meta.get("counters_since_delta_snapshot", {})) - newest.values.keys()
            kept[node.key] = node
            while missing and node.parent and (node := self._seen(view, node.namespace, node.parent)):
                kept[node.key] = node
                missing -= node.values.keys()
        if not kept:
            return
        parents = {event.key for event in kept.values()}
        events = []
        for event in self.events:
            if isinstance(event, Begin):
                events.append(event)
            elif isinstance(event, Checkpoint):
                if kept.get(event.key) is event:
                    if (event.namespace, event.parent) not in parents:
                        event.parent = None
                    events.append(event)
            elif (
                isinstance(event, Write)
                and any(event is write for write in self.writes(event.key, view))
                and event.key in kept
            ):
                events.append(event)
        self.events = events
        self._tidy()

    def ancestors(self, checkpoint_id):
        """A root checkpoint and its ancestors, nearest first; the newest one for None."""
        roots = [event for event in self.checkpoints() if event.namespace == ""]
        node = self.find("", checkpoint_id) if checkpoint_id else next(iter(roots), None)
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
