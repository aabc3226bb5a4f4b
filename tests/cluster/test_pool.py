"""The pool of a cluster, over machines that are faked: who gets what, who is blamed, and when the run ends."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_index.cluster.messages import Event, Finish, Order
from image_index.cluster.pool import FAILED_STARTS, ClusterLimits, ClusterPool
from image_index.errors import IndexMismatch, ModelUnavailable, WorkersFailed
from image_index.records import Batch, EmbeddedBatch, ImageFile, ModelFacts, Stage
from image_index.workers.engine import make_batches
from image_index.workers.messages import ExportTowers
from image_index.workers.pool import FRUITLESS_DEATHS
from tests.support.fake_cluster import ROOM, SETUP, FakeCluster, FakeMachine, other_model
from tests.support.fake_models import FACTS

AT_ONCE = ClusterLimits(restart_s=0)


def files_of(count: int, *names: str) -> list[ImageFile]:
    """Return `count` files that are nowhere, and one for each name at its place among them."""
    paths = [f"/photos/{number:04d}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        paths.insert((number + 1) * len(paths) // (len(names) + 1), f"/photos/{name}")
    return [ImageFile(path.encode(), 1, 10**18) for path in paths]


def pool_of(
    cluster: FakeCluster,
    limits: ClusterLimits = AT_ONCE,
    *,
    is_ours: Callable[[ModelFacts], bool] = lambda _: True,
    should_stop: Callable[[], bool] = lambda: False,
) -> ClusterPool:
    """Return a pool over `cluster`."""
    return ClusterPool(cluster, SETUP, is_ours, should_stop, limits)


def outcomes(results: Iterable[EmbeddedBatch]) -> Counter[tuple[str, bytes]]:
    """Count what each file has become."""
    found: Counter[tuple[str, bytes]] = Counter()
    for result in results:
        assert len(result.images) == len(result.vectors)
        found.update(("image", image.file.path) for image in result.images)
        found.update((f"failure {failure.stage}", failure.file.path) for failure in result.failures)
        found.update(("vanished", file.path) for file in result.vanished)
    return found


def embed(cluster: FakeCluster, files: list[ImageFile], limits: ClusterLimits = AT_ONCE) -> Counter[tuple[str, bytes]]:
    """Return what becomes of files."""
    with pool_of(cluster, limits) as pool:
        found = outcomes(pool.embed(make_batches(files, 4)))
    assert cluster.closed
    return found


def images(files: list[ImageFile]) -> Counter[tuple[str, bytes]]:
    """Return what it looks like when each file was embedded once."""
    return Counter(("image", file.path) for file in files)


def test_every_file_comes_back_once_and_every_machine_works() -> None:
    """Neither the order nor who did it matters."""
    one, two = FakeMachine("one"), FakeMachine("two")
    cluster, files = FakeCluster(one, two), files_of(50)
    with pool_of(cluster) as pool:
        assert outcomes(pool.embed(make_batches(files, 4))) == images(files)
        shares = {share.name: share.pictures for share in pool.machines}
        assert pool.facts == FACTS
    assert shares == {"one": one.embedded, "two": two.embedded}
    assert all(shares.values())


def test_nothing_to_embed_joins_no_cluster() -> None:
    """A run that finds nothing new needs none."""
    cluster = FakeCluster()
    assert not embed(cluster, [])
    assert not cluster.opened


def test_an_export_of_towers_is_left_undone() -> None:
    """No machine could write them here."""
    with pool_of(FakeCluster(FakeMachine("one"))) as pool:
        assert not list(pool.embed([ExportTowers("/nowhere")]))


def test_a_node_holds_no_more_than_it_has_room_for() -> None:
    """What is out there when a machine is lost is bounded."""
    cluster = FakeCluster(FakeMachine("one"))
    embed(cluster, files_of(100))
    assert ROOM - 4 < cluster.most_held <= ROOM


def test_what_a_lost_machine_held_goes_to_others_and_its_machine_is_used_again() -> None:
    """A lost machine costs time and nothing else."""
    one, two = FakeMachine("one"), FakeMachine("two")
    cluster, files, steps = FakeCluster(one, two), files_of(80), itertools.count()
    cluster.before_step = lambda: cluster.lose(one) if next(steps) == 5 else None
    assert embed(cluster, files) == images(files)
    assert cluster.losses == 1
    assert sum(cluster.given.values()) <= 80 + ROOM
    assert any(node.machine is one for node in cluster.nodes.values()) or one.embedded


def test_a_file_that_takes_two_machines_with_it_alone_becomes_a_failure() -> None:
    """Two losses make it a suspect, two more condemn it; its neighbours are embedded."""
    cluster, files = FakeCluster(FakeMachine("one"), FakeMachine("two")), files_of(60, "kills.jpg")
    expected = images([file for file in files if b"kills" not in file.path])
    expected[f"failure {Stage.CRASH}", b"/photos/kills.jpg"] = 1
    assert embed(cluster, files) == expected
    assert cluster.losses == 4


def test_several_such_files_are_each_found() -> None:
    """Neighbours that were held by two lost machines are tried alone too, and are innocent."""
    cluster, files = FakeCluster(FakeMachine("one"), FakeMachine("two")), files_of(60, "kills-a.jpg", "kills-b.jpg")
    found = embed(cluster, files)
    assert {path for outcome, path in found if outcome != "image"} == {b"/photos/kills-a.jpg", b"/photos/kills-b.jpg"}
    assert sum(found.values()) == len(found) == len(files)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2)), max_size=8), st.integers(0, 2))
def test_whatever_is_lost_each_file_comes_back_exactly_once(losses: list[tuple[int, int]], killers: int) -> None:
    """Machines are lost at any moment, in any order, by chance or by files that kill them; those are all found."""
    machines = [FakeMachine(name) for name in ("one", "two", "three")]
    cluster, files = FakeCluster(*machines), files_of(40, *[f"kills-{number}.jpg" for number in range(killers)])
    steps = itertools.count()

    def strike() -> None:
        now = next(steps)
        for step, machine in losses:
            if step == now:
                cluster.lose(machines[machine])

    cluster.before_step = strike
    found = embed(cluster, files)
    assert sum(found.values()) == len(found) == len(files)
    condemned = {path for outcome, path in found if outcome != "image"}
    assert {file.path for file in files if b"kills" in file.path} <= condemned


def test_a_machine_with_another_model_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that it has embedded is stored; one sentence names it."""
    odd = FakeMachine("odd", facts=other_model())
    cluster, files = FakeCluster(odd, FakeMachine("one")), files_of(40)
    with pool_of(cluster, is_ours=lambda facts: facts == FACTS) as pool:
        found = outcomes(pool.embed(make_batches(files, 4)))
        assert [share.name for share in pool.machines] == ["one"]
    assert found == images(files)
    assert [message for message in caplog.messages if "odd" in message] == [
        "odd is not used: what it has under the name fake is another model; fetch the model there again: "
        "imgidx models fetch"
    ]


def test_the_first_model_of_a_new_index_is_that_of_all_machines() -> None:
    """Two models that both may be ours never meet in one index."""
    cluster, files = FakeCluster(FakeMachine("one"), FakeMachine("two", facts=other_model())), files_of(40)
    with pool_of(cluster) as pool:
        assert outcomes(pool.embed(make_batches(files, 4))) == images(files)
        assert len(pool.machines) == 1


@pytest.mark.parametrize("error", [ModelUnavailable("no such model"), WorkersFailed("it does not see /photos/0.jpg")])
def test_a_run_without_a_machine_that_can_be_used_says_why(error: ModelUnavailable | WorkersFailed) -> None:
    """It ends with the error that all of them have, at once."""
    cluster = FakeCluster(FakeMachine("one", error=error), FakeMachine("two", error=error))
    with pytest.raises(type(error), match=f"one: {error.problem}; two: {error.problem}"):
        embed(cluster, files_of(8))


def test_machines_that_fail_for_different_reasons_end_the_run_as_workers_that_failed() -> None:
    """Another model on one, no model on the other."""
    cluster = FakeCluster(FakeMachine("one", error=ModelUnavailable("none")), FakeMachine("two", facts=other_model()))
    with (
        pytest.raises(WorkersFailed, match=r"one: none; two: what it has"),
        pool_of(cluster, is_ours=lambda facts: facts == FACTS) as pool,
    ):
        list(pool.embed(make_batches(files_of(8), 4)))


def test_another_model_everywhere_is_the_mismatch_it_is_at_home() -> None:
    """Exit code 5."""
    with pytest.raises(IndexMismatch), pool_of(FakeCluster(FakeMachine("one")), is_ours=lambda _: False) as pool:
        list(pool.embed(make_batches(files_of(8), 4)))


def test_a_cluster_without_machines_ends_the_run_after_a_while() -> None:
    """Some may come late, but not for ever."""
    with pytest.raises(WorkersFailed, match="no machine to work with"):
        embed(FakeCluster(), files_of(8), ClusterLimits(join_s=0.05))


def test_a_machine_that_joins_late_gets_work() -> None:
    """It is seen in the next list of machines."""
    late, steps = FakeMachine("late"), itertools.count()
    cluster, files = FakeCluster(FakeMachine("one")), files_of(80)
    cluster.before_step = lambda: cluster.machines.append(late) if next(steps) == 4 else None
    assert embed(cluster, files) == images(files)
    assert late.embedded


def test_a_node_that_says_nothing_is_lost() -> None:
    """As after a cut link that Ray has not noticed; what it held is embedded elsewhere."""
    stuck = FakeMachine("stuck", hangs=True)
    cluster, files = FakeCluster(FakeMachine("one"), stuck), files_of(40)
    limits = ClusterLimits(restart_s=60, silence_s=0.1, start_s=60)
    assert embed(cluster, files, limits) == images(files)
    assert not stuck.embedded


def test_a_machine_whose_nodes_do_not_start_is_given_up() -> None:
    """After some tries; no file is blamed for it."""
    broken = FakeMachine("broken", dies_loading=True)
    cluster, files = FakeCluster(broken, FakeMachine("one")), files_of(80)
    assert embed(cluster, files) == images(files)
    assert cluster.losses == FAILED_STARTS


def test_nothing_but_losses_ends_the_run() -> None:
    """As at home with nothing but poison."""
    cluster = FakeCluster(*[FakeMachine(str(number)) for number in range(3)])
    files = files_of(0, *[f"kills-{number}.jpg" for number in range(2 * FRUITLESS_DEATHS)])
    with pytest.raises(WorkersFailed, match=r"faster than they work|can be used"):
        embed(cluster, files)


def test_twins_are_told_apart() -> None:
    """Two nodes of Ray on one machine have one name."""
    with pool_of(FakeCluster(FakeMachine("vm/a"), FakeMachine("vm/b"))) as pool:
        list(pool.embed(make_batches(files_of(40), 4)))
        assert {share.name for share in pool.machines} == {"vm (a/mv)", "vm (b/mv)"}


class Stopped(FakeCluster):
    """A cluster that notes what it is told after a stop."""

    def __init__(self, *machines: FakeMachine, after: int) -> None:
        super().__init__(*machines)
        self.orders: list[Order] = []
        self.steps = 0
        self.after = after

    def events(self, timeout_s: float) -> list[Event]:
        """Count the steps."""
        self.steps += 1
        return super().events(timeout_s)

    def send(self, order: Order) -> None:
        """Note an order."""
        if self.should_stop():
            self.orders.append(order)
        super().send(order)

    def should_stop(self) -> bool:
        """Tell whether it has been long enough."""
        return self.steps >= self.after


def test_a_stop_takes_what_is_in_work_and_begins_nothing() -> None:
    """Every node is told to finish, and is waited for until it has."""
    cluster, files = Stopped(FakeMachine("one"), FakeMachine("two"), after=6), files_of(200)
    with pool_of(cluster, should_stop=cluster.should_stop) as pool:
        found = outcomes(pool.embed(make_batches(files, 4)))
    assert 0 < sum(found.values()) == len(found) < len(files)
    assert sum(isinstance(order, Finish) for order in cluster.orders) == 2
    assert {type(order).__name__ for order in cluster.orders} == {"Finish", "EndNode"}


def test_a_stop_waits_for_a_node_that_hangs_only_so_long() -> None:
    """What it holds is not recorded, and no file is blamed."""
    cluster = Stopped(FakeMachine("one", hangs=True), after=4)
    with pool_of(cluster, ClusterLimits(drain_s=0.05), should_stop=cluster.should_stop) as pool:
        assert not outcomes(pool.embed(make_batches(files_of(20), 4)))


def test_a_cluster_that_is_lost_ends_the_run_but_not_a_stop() -> None:
    """A run that stops anyway keeps its exit code."""
    cluster = FakeCluster(FakeMachine("one"))
    cluster.gone = True
    with pytest.raises(WorkersFailed, match="gone"):
        embed(cluster, files_of(8))
    stopped = Stopped(FakeMachine("one", hangs=True), after=4)
    stopped.before_step = lambda: setattr(stopped, "gone", stopped.steps > 4)
    with pool_of(stopped, should_stop=stopped.should_stop) as pool:
        list(pool.embed(make_batches(files_of(20), 4)))


@pytest.fixture
def pictures(tmp_path: Path) -> list[ImageFile]:
    """Return files that are there."""
    files = []
    for number in range(40):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(b"picture")
        files.append(ImageFile.of(str(path).encode(), path.stat()))
    return files


def test_a_machine_that_does_not_see_the_files_is_not_used(
    pictures: list[ImageFile], caplog: pytest.LogCaptureFixture
) -> None:
    """Its mount is gone: without the driver's own look every file would count as vanished."""
    blind = FakeMachine("blind", sees_nothing=True)
    assert embed(FakeCluster(blind, FakeMachine("one")), pictures) == images(pictures)
    assert "blind is not used: it does not see the pictures" in caplog.text


def test_a_file_that_is_gone_here_too_has_vanished() -> None:
    """It was deleted after the scan."""
    files = files_of(8)
    cluster = FakeCluster(FakeMachine("one", sees_nothing=True))
    assert embed(cluster, files) == Counter(("vanished", file.path) for file in files)


def test_the_nodes_are_shown_files_that_are_as_they_were_planned(pictures: list[ImageFile]) -> None:
    """By these they find whether they see what the driver sees; one that has changed since would tell nothing."""
    cluster = FakeCluster(FakeMachine("one"))
    changed = pictures[0]._replace(size=3)
    with pool_of(cluster) as pool:
        list(pool.embed([Batch((changed, *pictures[1:8]))]))
        (node,) = cluster.nodes.values()
        assert node.setup.sample == tuple(pictures[1:8])
