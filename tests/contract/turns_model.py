"""The turns of a thread, told the plain way: from all messages of all its checkpoints, by walking up to the parents."""

from dataclasses import dataclass, field


@dataclass
class Node:
    id: str
    content: str
    before: int | None
    places: list[int] = field(default_factory=list)


def naive_turns(checkpoints):
    """The turns, and which the newest checkpoint shows. `checkpoints`: (id, parent, messages), oldest first; each message is
    (id, content).

    Returns:
        `(turns, shown)`: of each turn its id, content, turn before it, oldest checkpoint, siblings; of each checkpoint its turns.
    """
    index = {}
    parents, shown, nodes = [], [], []
    for place, (checkpoint_id, parent, messages) in enumerate(checkpoints):
        parents.append(index.get(parent))
        index[checkpoint_id] = place
        above = {} if parents[-1] is None else dict(shown[parents[-1]])
        here = []
        for id_, content in messages:
            before = here[-1][1] if here else None
            number = above.get((id_, content))
            if number is None:
                alike = [
                    n for n, node in enumerate(nodes) if (node.id, node.content, node.before) == (id_, content, before)
                ]
                if not alike:
                    nodes.append(Node(id_, content, before))
                number = alike[0] if alike else len(nodes) - 1
                nodes[number].places.append(place)
            here.append(((id_, content), number))
        shown.append(here)

    def above_of(number, place):
        """The nearest turn with the same turn before it that was new above a checkpoint."""
        place = parents[place]
        while place is not None:
            for other, node in enumerate(nodes):
                if node.before == nodes[number].before and place in node.places:
                    return other
            place = parents[place]
        return None

    classes = [
        {("id", node.before, node.id)} | {("above", node.before, above_of(number, place)) for place in node.places}
        for number, node in enumerate(nodes)
    ]
    for _ in nodes:
        for one in classes:
            for other in classes:
                if one & other:
                    one |= other
    turns = [
        (
            node.id,
            node.content,
            node.before,
            checkpoints[node.places[0]][0],
            [other for other in range(len(nodes)) if classes[other] & classes[number]],
        )
        for number, node in enumerate(nodes)
    ]
    return turns, [[number for _, number in here] for here in shown]
