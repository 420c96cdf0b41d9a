"""On which machine a part is to run, and whom to suspect."""

from actors.nodes import SUSPECTED_S, Nodes, RayNode

HEAD = RayNode("head", True, 0, True)
A, B = RayNode("a", True, 2, False), RayNode("b", True, 2, False)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_parts_are_spread_and_the_head_stays_free() -> None:
    """Given a head that gives no cores away and two machines; then parts of a kind are spread over the two."""
    nodes, running = Nodes(Clock()), []
    for _ in range(4):
        running.append(("shard", nodes.choose("shard", False, [HEAD, A, B], running)))
    assert [node_id for _, node_id in running] == ["a", "b", "a", "b"]
    assert nodes.choose("gateway", False, [HEAD], []) == "head", "where there is nothing else"


def test_a_suspected_machine_is_chosen_last_and_not_for_ever() -> None:
    """Given a machine on which a part fell silent; then another is taken until it is heard or `SUSPECTED_S` are over."""
    clock = Clock()
    nodes = Nodes(clock)
    nodes.suspect("a")
    assert nodes.choose("shard", False, [A, B], [("shard", "b")]) == "b"
    assert nodes.choose("shard", False, [HEAD, A], []) == "head"
    assert nodes.choose("shard", False, [A], []) == "a", "rather there than nowhere"
    clock.now_s = SUSPECTED_S - 0.1
    assert nodes.is_suspected("a")
    clock.now_s = SUSPECTED_S
    assert nodes.choose("shard", False, [A, B], [("shard", "b")]) == "a"
    nodes.suspect("a")
    nodes.hear("a")
    assert nodes.choose("shard", False, [A, B], [("shard", "b")]) == "a"


def test_a_part_that_needs_a_core_gets_one_or_waits_for_a_machine() -> None:
    """Given media workers, one a core; when every core has one; then no machine is named: Ray may find or make one."""
    nodes, running = Nodes(Clock()), []
    for _ in range(4):
        running.append(("media", nodes.choose("media", True, [HEAD, A, B], running)))
    assert sorted(node_id for _, node_id in running) == ["a", "a", "b", "b"]
    assert nodes.choose("media", True, [HEAD, A, B], running) == ""
    assert nodes.choose("shard", False, [HEAD, A, B], running) == "a"


def test_a_machine_that_ray_has_seen_to_be_lost_is_not_chosen() -> None:
    nodes = Nodes(Clock())
    assert nodes.choose("shard", False, [RayNode("a", False, 2, False), B], []) == "b"
    assert nodes.choose("shard", False, [RayNode("a", False, 2, False)], []) == ""


def test_a_standby_is_put_on_another_machine() -> None:
    """Given a part on a machine; then its standby is put elsewhere, even where more runs, and beside it only at need."""
    nodes, running = Nodes(Clock()), [("shard", "a"), ("shard", "b"), ("gateway", "b")]
    assert nodes.choose("shard", False, [A, B], running, "a") == "b"
    assert nodes.choose("shard", False, [A], running, "a") == "a"


def test_a_standby_stays_off_the_head_and_goes_where_it_is_better_off() -> None:
    """Given one machine beside the head; then a standby shares it; when another comes, it is worth going there, and once."""
    nodes, running = Nodes(Clock()), [("shard", "a")]
    assert nodes.choose("shard", False, [HEAD, A], running, "a") == "a"
    assert not nodes.is_better("a", "a", [HEAD, A], "a")
    assert nodes.choose("shard", False, [HEAD, A, B], running, "a") == "b"
    assert nodes.is_better("b", "a", [HEAD, A, B], "a")
    assert nodes.is_better("a", "head", [HEAD, A], "a")
    assert not nodes.is_better("b", "c", [HEAD, A, B, RayNode("c", True, 2, False)], "a"), "as good"
    assert not nodes.is_better("", "a", [HEAD, A], "a")
