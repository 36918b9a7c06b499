"""Random operations in any order, on a storage and on a model that really copies: from outside they are the same."""

import itertools

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.lineage_comparisons import NAMES, NAMESPACES, Comparisons, stored_write
from tests.contract.lineage_model import Begin, Checkpoint, History, Write
from threadloom.codec import sorted_json
from threadloom.errors import StaleRefsError, UnstoredParentError
from threadloom.lineage import merge_base
from threadloom.lineage.elements import Value
from threadloom.lineage.messages import NO_MESSAGES, recorded, recorded_change
from threadloom.storage.lineage import Blob, CheckpointPut, Tag, WritesPut
from threadloom.storage.lineage.digests import value_digest

pytestmark = pytest.mark.anyio

COMMON = (
    "put",
    "put",
    "put",
    "put_fast",
    "writes",
    "writes",
    "special",
    "copy",
    "copy_many",
    "copy_at",
    "copy_inside",
    "branch",
)
RARE = ("delete", "prune", "rollback", "delete_run", "again", "stale", "reset", "undo", "promote", "tag", "untag")

numbers = st.integers(0, 10_000)
operations = st.lists(st.tuples(st.sampled_from(COMMON + RARE), numbers, numbers, numbers), min_size=10, max_size=60)


@pytest.fixture(scope="module", autouse=True)
def short_pages():
    """Histories are read in pages, and the first one is short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_base, "FIRST_PAGE", 2)
        yield


class Pair(Comparisons):
    """A storage and the model, side by side."""

    def __init__(self, storage, tables):
        self.storage = storage
        self.tables = tables
        self.threads: dict[str, History] = {}
        self.former: dict[str, list[tuple[History, str]]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.promoted: set[str] = set()
        self.ids = (f"{number:08d}" for number in itertools.count(1))
        self.run = "run-0"
        self.runs = itertools.count(1)
        self.held = []

    async def clear(self):
        for name in NAMES:
            await self.write("delete", name)
        assert set(self.tables.counts().values()) == {0}

    async def step(self, operation, a, b, c):
        thread = NAMES[a % len(NAMES)]
        await getattr(self, f"do_{operation}")(thread, self.threads.get(thread), b, c)
        await self.compare_histories()
        self.tables.check()

    # --- operations ---

    async def do_put(self, thread, history, b, c):
        namespace = NAMESPACES[b % len(NAMESPACES)]
        seen = [] if history is None else [event for event in history.checkpoints() if event.namespace == namespace]
        parent = seen[(b // 7) % len(seen)] if seen and c % 4 == 0 else seen[0] if seen else None
        if c % 9 == 0:
            self.run = f"run-{next(self.runs)}"
        await self.put(thread, namespace, next(self.ids), parent, c)

    def parents_of(self, thread, namespace, c):
        """Checkpoints of the graphs around a namespace: the newest, or at times others, or one that was never stored."""
        found = {}
        parts = namespace.split("|")
        for around in ("", *("|".join(parts[:count]) for count in range(1, len(parts)))):
            seen = [event for event in self.threads.get(thread, History()).checkpoints() if event.namespace == around]
            if seen and c % 11:
                found[around] = seen[(c + 1) % len(seen)].checkpoint_id
            elif c % 2:
                found[around] = "unstored"
        return found

    async def put(self, thread, namespace, checkpoint_id, parent, c, early=None, known=None, parents=None):
        values, refs, blobs = {}, {}, []
        row = None if parent is None else await self.read("get", thread, namespace, parent.checkpoint_id)
        if known is None and row is not None:
            known = (row.era, row.refs, parent.values)
        if known is not None and c % 3:
            for channel in known[1]:
                refs[channel], values[channel] = known[1][channel], known[2][channel]
        inherited = bool(refs)
        new_channels = [channel for bit, channel in enumerate(("x", "y")) if c >> bit & 1]
        for channel in new_channels:
            blob = self.storage.new_blob_id()
            data = f"{checkpoint_id}.{channel}.{blob}".encode()
            base = known[1].get(channel) if known is not None and c // 4 % 3 else None
            before = b"" if base is None else known[2][channel]
            inherited = inherited or base is not None
            refs[channel], values[channel] = blob, before + data
            blobs.append(Blob(blob, "t", data, base, 1 + len(before), len(before + data)))
        messages = None
        if namespace == "":
            messages = self.put_messages(checkpoint_id, parent, c, values, refs, blobs)
        meta = {"step": c % 5, "run_id": self.run} if c % 2 else {"step": c % 5}
        if namespace:
            meta["parents"] = parents or self.parents_of(thread, namespace, c)
        if "y" not in values and c % 5 == 0:
            meta["counters_since_delta_snapshot"] = {"y": [1, 1]}
        await self.write(
            "put",
            CheckpointPut(
                thread_id=thread,
                namespace=namespace,
                checkpoint_id=checkpoint_id,
                parent=None if parent is None else parent.checkpoint_id,
                body_type="t",
                body=checkpoint_id.encode(),
                refs=refs,
                blobs=blobs,
                meta=sorted_json(meta),
                messages=messages,
                era=known[0] if inherited else None,
                values={channel: value_digest("t", value) for channel, value in values.items()},
                early=early,
                run_id=self.run,
            ),
        )
        history = self.threads.setdefault(thread, History())
        history.begin(self.run)
        history.events.append(
            Checkpoint(namespace, checkpoint_id, None if parent is None else parent.checkpoint_id, meta, dict(values))
        )

    def put_messages(self, checkpoint_id, parent, c, values, refs, blobs):
        """Gives a root checkpoint messages: those of its parent, changed. Returns what is recorded of them."""
        before = None if parent is None else parent.values.get("messages")
        if c % 5 == 1:
            return None if before == values.get("messages") else NO_MESSAGES if "messages" not in values else None
        listed = [] if before is None else msgspec.msgpack.decode(before)
        new = {"id": f"m{c % 3}" if c % 7 == 0 else checkpoint_id, "type": "human", "content": checkpoint_id}
        change = c % 11
        if change in (1, 2) and listed:  # an edit, with another id or the same one
            place = c % len(listed)
            listed[place] = new if change == 1 else {**new, "id": listed[place]["id"]}
        elif change == 3:  # a summary in place of the first ones
            listed = [new, *listed[2:]]
        elif change == 4:  # removed in the middle
            listed = [*listed[:1], *listed[2:], new]
        else:
            listed.append(new)
        listed = list({message["id"]: message for message in listed}.values())
        data = msgspec.msgpack.encode(listed)
        blob = Blob(self.storage.new_blob_id(), "msgpack", data)
        refs["messages"], values["messages"] = blob.id, data
        blobs.append(blob)
        if before is None or c % 13 == 0:  # or the parent's are not cached
            return recorded(data)
        earlier = Value(before)
        return recorded_change(Value(data, earlier), earlier)

    async def do_put_fast(self, thread, history, b, c):
        """Writes and an inner checkpoint are there before the root checkpoint that they build on."""
        root, inner, namespace = next(self.ids), next(self.ids), "inner:1"
        seen = [] if history is None else [event for event in history.checkpoints() if event.namespace == ""]
        await self.write("put_writes", self.writes_put(thread, "", root, [("t1", 0, b"fast")]))
        await self.put(thread, namespace, inner, None, c, parents={"": root})
        await self.write("put_writes", self.writes_put(thread, namespace, inner, [("t2", 0, b"inner")]))
        moved = self.threads[thread].events.pop()
        await self.put(thread, "", root, seen[0] if seen else None, b, early=[(namespace, inner)])
        self.threads[thread].events += [
            Write("", root, "t1", 0, b"fast"),
            moved,
            Write(namespace, inner, "t2", 0, b"inner"),
        ]

    def writes_put(self, thread, namespace, checkpoint_id, writes):
        return WritesPut(
            thread_id=thread,
            namespace=namespace,
            checkpoint_id=checkpoint_id,
            writes=[stored_write(*write) for write in writes],
            run_id=self.run,
        )

    async def do_writes(self, thread, history, b, c):
        await self.add_writes(
            thread, history, b, [(f"t{c % 3}", index, b"%d" % (c + index)) for index in range(1 + c % 2)]
        )

    async def do_special(self, thread, history, b, c):
        await self.add_writes(thread, history, b, [(f"t{c % 2}", -1 - c % 4, b"%d" % c)])

    async def add_writes(self, thread, history, b, writes):
        seen = [] if history is None else history.checkpoints(history.view())[:3]
        if not seen:
            return
        key = seen[b % len(seen)].key
        there = {(write.task_id, write.idx) for write in history.writes(key)}
        new = [write for write in writes if write[1] < 0 or write[:2] not in there]
        if not new and history.is_branched():
            return  # it would be stored on the new branch, and be seen when the first one is removed
        writes = new or writes
        await self.write("put_writes", self.writes_put(thread, *key, writes))
        if new := [write for write in writes if write[1] < 0 or write[:2] not in there]:
            history.begin(self.run)
            history.events += [Write(*key, *write) for write in new]

    async def do_again(self, thread, history, b, c):
        """A checkpoint without pending writes is put once more."""
        seen = [] if history is None else [event for event in history.checkpoints() if not history.writes(event.key)]
        if seen and not history.is_branched():
            old = seen[b % len(seen)]
            parent = history.find(old.namespace, old.parent) if old.parent else None
            await self.put(thread, old.namespace, old.checkpoint_id, parent, c)

    async def do_stale(self, thread, history, b, c):
        """What was read some time ago is used now: right, or refused."""
        if history is not None and (seen := history.checkpoints()):
            row = await self.read("get", thread, seen[0].namespace, seen[0].checkpoint_id)
            self.held.append((thread, seen[0].namespace, row.era, row.refs, seen[0].values))
        thread, namespace, *known = self.held[b % len(self.held)] if self.held else (thread, "", 0, {}, {})
        if known[1]:
            with_refusal = thread not in self.threads
            try:
                await self.put(thread, namespace, next(self.ids), None, 4, known=known)
            except StaleRefsError:
                return
            assert not with_refusal

    async def do_copy(self, thread, history, b, c, **cut):
        target = next((name for name in NAMES if name not in self.threads), None)
        if history is not None and target is not None:
            await self.compare_copies("copy", thread, history, target, [target], self.kept(c, cut))

    async def do_copy_many(self, thread, history, b, c, **cut):
        targets = [name for name in NAMES if name not in self.threads][: 1 + c % 3]
        if history is not None and targets:
            await self.compare_copies("copy_many", thread, history, targets, targets, self.kept(c, cut))

    def kept(self, c, cut):
        return cut | ({"keep": 1 + c % 4} if c % 5 < 2 else {})

    async def compare_copies(self, method, thread, history, given, targets, options):
        try:
            copies = {target: history.copy(**options) for target in targets}
        except LookupError:
            with pytest.raises(UnstoredParentError):
                await self.write(method, thread, given, **options)
            return
        newest = await self.write(method, thread, given, **options)
        self.threads |= copies
        for target in targets:
            copied = self.threads[target]
            roots = [event for event in copied.checkpoints(copied.view()) if event.namespace == ""]
            assert newest == (roots[0].checkpoint_id if roots else None)
            if options.get("keep") and not roots:
                del self.threads[target]

    async def do_copy_at(self, thread, history, b, c, inside=False):
        seen = [] if history is None else [event for event in history.checkpoints() if bool(event.namespace) == inside]
        if seen:
            copy = self.do_copy_many if c % 2 else self.do_copy
            cut = seen[b % len(seen)]
            await copy(thread, history, b, c, at=cut.checkpoint_id, namespace=cut.namespace)

    async def do_copy_inside(self, thread, history, b, c):
        """Half of the time at a new checkpoint, under any root checkpoint."""
        roots = [] if history is None else [event for event in history.checkpoints() if event.namespace == ""]
        if roots and b % 2:
            parents = {"": roots[b // 2 % len(roots)].checkpoint_id}
            await self.put(thread, NAMESPACES[3 + c % 3], next(self.ids), None, c, parents=parents)
            b = 0
        await self.do_copy_at(thread, history, b, c, inside=True)

    async def do_branch(self, thread, history, b, c):
        """A fork in place. Now and then at the newest checkpoint, which `branch_point` would not say."""
        seen = [] if history is None else history.checkpoints()
        if seen:
            leaves = seen[b % len(seen)]
            row = await self.read("get", thread, *leaves.key)
            newest = history.checkpoints(history.view())
            is_newest = leaves is next((event for event in newest if event.namespace == leaves.namespace), None)
            point = await self.read("branch_point", thread, *leaves.key)
            puts = [event for event in history.events if isinstance(event, Checkpoint) and event.key == leaves.key]
            if not leaves.namespace and len(puts) == 1:  # the place of one that was put again is that of the first put
                assert point == (None if is_newest else row.pos)
            run = self.run if c % 2 else None
            await self.write("begin_branch", thread, row.pos, run_id=run)
            history.branch(leaves)
            history.begin(run)

    async def do_delete(self, thread, history, b, c):
        await self.write("delete", thread)
        for known in (self.threads, self.former, self.tags):
            known.pop(thread, None)

    async def do_prune(self, thread, history, b, c):
        await self.write("prune", thread)
        if history is None:
            return
        tagged = dict.fromkeys(self.tags.get(thread, {}).values())
        seen = set(history.roots())
        self.run = f"run-{next(self.runs)}"
        if not history.prune([one for one in tagged if one in seen]):
            return
        formers = self.former.pop(thread, [])
        lost = [one for one in tagged if one not in seen]
        holders = [next(former for former in reversed(formers) if one in former[0].roots()) for one in lost]
        if kept := [former for former in formers if any(former is holder for holder in holders)]:
            self.former[thread] = kept

    # --- moves of the head ---

    def root_ids(self, thread):
        """The root checkpoints that the thread or a former head of it shows."""
        views = [history for history, _ in reversed(self.former.get(thread, []))]
        return [one for view in (self.threads.get(thread, History()), *views) for one in view.roots()]

    def left(self, thread, history, reason):
        self.former.setdefault(thread, []).append((history or History(), reason))
        self.run = f"run-{next(self.runs)}"

    def check_moved(self, moved, before, after):
        newest = [view.newest_root() for view in (before or History(), after)]
        assert [moved.before, moved.after] == newest

    async def do_reset(self, thread, history, b, c):
        if history is None or not (ids := self.root_ids(thread)):
            return
        at = ids[b % len(ids)]
        moved = await self.write("reset", thread, at, now=c, record={"error": str(c)})
        views = [history, *(former for former, _ in reversed(self.former.get(thread, [])))]
        self.threads[thread] = next(view for view in views if at in view.roots()).at(at)
        self.check_moved(moved, history, self.threads[thread])
        self.left(thread, history, "reset")

    async def do_undo(self, thread, history, b, c):
        former = await self.write("undo", thread, now=c, record={})
        if not (formers := self.former.get(thread)):
            assert former is None
            return
        self.threads[thread], _ = formers.pop()
        assert former.checkpoint_id == self.threads[thread].newest_root()
        self.left(thread, history, "undo")
        self.forget_if_empty(thread)

    async def do_promote(self, thread, history, b, c):
        source = NAMES[b % len(NAMES)]
        if source != thread and self.threads.get(source, History()).events:
            moved = await self.write("promote", thread, source, now=c, record={})
            self.threads[thread] = self.threads[source].copy()
            self.check_moved(moved, history, self.threads[thread])
            self.promoted.add(thread)
            self.left(thread, history, "promote")

    async def do_tag(self, thread, history, b, c):
        if ids := self.root_ids(thread):
            tag = Tag(f"tag-{c % 3}", ids[b % len(ids)], c, c)
            await self.write("set_tag", thread, tag)
            self.tags.setdefault(thread, {})[tag.name] = tag.checkpoint_id

    async def do_untag(self, thread, history, b, c):
        name = f"tag-{c % 3}"
        assert await self.write("drop_tag", thread, name) == (self.tags.get(thread, {}).pop(name, None) is not None)

    def forget_lost_tags(self, thread):
        ids = self.root_ids(thread)
        self.tags[thread] = {name: one for name, one in self.tags.get(thread, {}).items() if one in ids}

    def pick_run(self, history, b):
        runs = [] if history is None else [event.run_id for event in history.events if isinstance(event, Begin)]
        return runs[-1 - b % len(runs)] if runs else "no-run"

    async def do_rollback(self, thread, history, b, c):
        run = self.pick_run(history, 0 if thread in self.former else b % 2)
        await self.write("rollback", thread, run)
        if history is not None:
            history.rollback(run)
            self.forget_lost_tags(thread)
            self.forget_if_empty(thread)
        self.run = f"run-{next(self.runs)}"

    async def do_delete_run(self, thread, history, b, c):
        if thread in self.promoted:
            return  # which runs of it another thread's history has, depends on positions: see contract/test_moves.py
        views = [history, *(former for former, _ in self.former.get(thread, []))]
        run = self.pick_run(views[c % len(views)], b)
        await self.write("delete_run", thread, run)
        if history is not None:
            history.delete_run(run)
            self.former[thread] = [former for former in self.former.get(thread, []) if not former[0].shows(run)]
            self.forget_lost_tags(thread)
            self.forget_if_empty(thread)
        self.run = f"run-{next(self.runs)}"

    def forget_if_empty(self, thread):
        if not any(isinstance(event, Checkpoint | Write) for event in self.threads[thread].events):
            del self.threads[thread]
            if self.former.get(thread):
                self.threads[thread] = History()

    # --- comparison ---


async def alike(storage, lineage_tables, steps):
    pair = Pair(storage, lineage_tables)
    await pair.clear()
    for count, step in enumerate(steps, 1):
        await pair.step(*step)
        if count % 10 == 0:
            await pair.compare_everything()
    await pair.compare_everything()
    await pair.clear()


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=operations)
async def test_a_storage_is_like_deep_copies(storage, lineage_tables, steps):
    await alike(storage, lineage_tables, steps)


@pytest.mark.parametrize("storage", ["postgres"], indirect=True)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=operations)
async def test_a_database_is_like_deep_copies(storage, lineage_tables, steps):
    """Fewer examples: every question is a way to the server and back."""
    await alike(storage, lineage_tables, steps)
