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
class History:
    events: list = field(default_factory=list)

    def checkpoints(self):
        """Newest first, each id once."""
        seen = {}
        for event in reversed(self.events):
            if isinstance(event, Checkpoint):
                seen.setdefault(event.key, event)
        return list(seen.values())

    def find(self, namespace, checkpoint_id):
        return next((event for event in self.checkpoints() if event.key == (namespace, checkpoint_id)), None)

    def writes(self, key, of=None):
        """The valid pending writes of the newest checkpoint with that key, or of the one that is given."""
        kept = {}
        passed = False
        for event in self.events:
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
            made._keep(keep, outdated, made.find(namespace, at).meta.get("parents", {}).get("") if namespace else None)
        elif outdated:
            made._renew(namespace, at, {event.key for event in outdated})
        return made

    def _renew(self, namespace, at, outdated):
        """A checkpoint and those around it become the newest, those that were not without pending writes."""
        cut = self.find(namespace, at)
        path = [self.find(*place) for place in cut.meta["parents"].items()]
        for event in [*sorted(path, key=self._place), cut]:
            writes = [] if event.key in outdated else self.writes(event.key)
            self.events += [replace(event, renewed=True), *writes]

    def _outdated(self, namespace, at):
        """The checkpoints around the last one that are not the newest of their namespaces."""
        newest = {event.namespace: event for event in reversed(self.checkpoints())}
        found = []
        for around, id_ in self.find(namespace, at).meta.get("parents", {}).items():
            if around not in newest or newest[around].checkpoint_id != id_:
                if (event := self.find(around, id_)) is None:
                    raise LookupError(id_)
                found.append(event)
        return sorted(found, key=self._place)

    def _place(self, event):
        return next(index for index, one in enumerate(self.events) if one is event)

    def _keep(self, count, outdated, root):
        newest = {event.namespace: event for event in reversed(self.checkpoints())}
        node = self.find("", root) if root else newest.get("")
        roots = []
        while node and len(roots) < count:
            roots.append(node)
            node = node.parent and History(self.events[: self._place(node)]).find("", node.parent)
        if not roots:
            self.events = []
            return
        ids = {event.checkpoint_id for event in roots}
        inner = {
            name: event
            for name, event in newest.items()
            if name and (":" not in name or self._place(event) > self._place(roots[-1]))
        } | {event.namespace: event for event in outdated if event.namespace}
        kept = {event.key: event for event in roots}
        for event in inner.values():
            if ":" not in event.namespace or event.meta.get("parents", {}).get("") in ids:
                kept[event.key] = event
        self._retain(kept, {event.key for event in outdated})

    def _index(self, key):
        places = [i for i, event in enumerate(self.events) if isinstance(event, Checkpoint) and event.key == key]
        return places[0]

    def _tidy(self):
        """Forgets runs that nothing is left of."""
        following = [*self.events[1:], Begin("")]
        self.events = [
            event
            for event, after in zip(self.events, following, strict=False)
            if not (isinstance(event, Begin) and isinstance(after, Begin))
        ]

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
                self._tidy()
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
        self.events = [
            event
            for event in self.events
            if isinstance(event, Begin) or (event.key not in doomed and id(event) not in answers)
        ]
        # What the run leaves (checkpoints that do not tell whose they are) becomes no other run's that nothing is left of.
        self._tidy()
        self.events = [event for event in self.events if not (isinstance(event, Begin) and event.run_id == run_id)]

    def prune(self):
        self._retain({event.key: event for event in {e.namespace: e for e in reversed(self.checkpoints())}.values()})

    def _retain(self, kept, bare=()):
        """Only these checkpoints stay, with what delta channels are rebuilt from; without pending writes those of `bare`."""
        for node in list(kept.values()):
            missing = set(node.meta.get("counters_since_delta_snapshot", {})) - node.values.keys()
            while missing and node.parent and (node := self.find(node.namespace, node.parent)):
                kept[node.key] = node
                missing -= node.values.keys()
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
                event.key in kept
                and event.key not in bare
                and any(event is one for one in self.writes(event.key, kept[event.key]))
            ):
                events.append(event)
        self.events = events
        self._tidy()

    def path(self, namespace, checkpoint_id, channel):
        """Ids of the ancestors to read for a channel, and the value found."""
        node, ids = self.find(namespace, checkpoint_id), []
        while node and node.parent and (node := self.find(namespace, node.parent)):
            ids.append(node.checkpoint_id)
            if channel in node.values:
                return ids, node.values[channel]
        return ids, None
