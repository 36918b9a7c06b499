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

    def writes(self, key):
        kept = {}
        for event in self.events:
            if not isinstance(event, Write) or event.key != key:
                continue
            if event.idx < 0 or (event.task_id, event.idx) not in kept:
                kept[event.task_id, event.idx] = event
        return [kept[place] for place in sorted(kept)]

    def begin(self, run_id):
        if run_id and not any(isinstance(event, Begin) and event.run_id == run_id for event in self.events):
            self.events.append(Begin(run_id))

    def copy(self, at=None):
        return History([event for event in self.at(at).events if not isinstance(event, Begin)])

    def at(self, checkpoint_id=None):
        """What was there when a root checkpoint was put; the thread stays the same, so it knows its runs."""
        events = self.events
        if checkpoint_id is not None:
            events = events[: self._index(("", checkpoint_id)) + 1]
        return History(copy.deepcopy(events))

    def roots(self):
        """The ids of the root checkpoints, newest first."""
        return [event.checkpoint_id for event in self.checkpoints() if event.namespace == ""]

    def shows(self, run_id):
        """Whether anything is there that `delete_run` would remove."""
        began = any(isinstance(event, Begin) and event.run_id == run_id for event in self.events)
        put = any(isinstance(event, Checkpoint) and event.meta.get("run_id") == run_id for event in self.events)
        return began and (put or any(True for _ in self._writes_of(run_id)))

    def _index(self, key):
        places = [i for i, event in enumerate(self.events) if isinstance(event, Checkpoint) and event.key == key]
        return places[-1]

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

    def needed(self):
        """What a prune keeps."""
        kept = []
        for newest in {event.namespace: event for event in reversed(self.checkpoints())}.values():
            node = newest
            missing = set(newest.meta.get("counters_since_delta_snapshot", {})) - newest.values.keys()
            kept.append(node)
            while missing and node.parent and (node := self.find(node.namespace, node.parent)):
                kept.append(node)
                missing -= node.values.keys()
        return kept

    def prune(self, tagged=()):
        kept = self.needed()
        for checkpoint_id in tagged:
            kept += History(self.events[: self._index(("", checkpoint_id)) + 1]).needed()
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
            elif event.key in parents and any(event is write for write in self.writes(event.key)):
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
