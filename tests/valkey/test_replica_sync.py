"""Progress of a synchronization from what nodes report."""

from hypothesis import given
from hypothesis import strategies as st

from cachewright.valkey.replica_sync import LOADED, RECEIVED, SyncProgress, parse

REPLICA = {"role": "slave", "master_port": "7000", "master_link_status": "down", "slave_repl_offset": "0"}
PRIMARY = {"role": "master", "master_repl_offset": "500"}
LINKED = REPLICA | {"master_link_status": "up", "slave_repl_offset": "500", "aof_rewrite_in_progress": "0"}


def numbers(**fields: int) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items()}


def receiving(received: int) -> dict[str, str]:
    return REPLICA | numbers(master_sync_read_bytes=received, master_sync_total_bytes=0)


def sending(keys: int, of: int = 100) -> dict[str, str]:
    return PRIMARY | numbers(current_save_keys_processed=keys, current_save_keys_total=of)


def test_received_bytes_fill_the_gaps_between_reports_of_the_primary() -> None:
    progress = SyncProgress(size=10_000)
    progress.see(parse(receiving(500), sending(0)))
    assert progress.share == RECEIVED * 500 / 10_000
    progress.see(parse(receiving(1000), sending(40)))
    assert progress.share == RECEIVED * 0.4
    progress.see(parse(receiving(1500), sending(40)))
    assert round(progress.share, 6) == round(RECEIVED * 0.6, 6)


def test_a_replica_is_complete_when_it_has_caught_up_and_written_its_file() -> None:
    progress = SyncProgress(size=10_000)
    loading = receiving(2500) | numbers(loading=1, loading_total_bytes=2000, loading_loaded_bytes=1000)
    progress.see(parse(loading, PRIMARY))
    assert progress.share == RECEIVED + LOADED / 2
    behind = parse(LINKED | numbers(slave_repl_offset=499), PRIMARY)
    progress.see(behind)
    assert not progress.is_complete(behind)
    rewriting = LINKED | numbers(aof_rewrite_in_progress=1, current_save_keys_processed=50, current_save_keys_total=100)
    progress.see(parse(rewriting, PRIMARY))
    assert not progress.is_complete(parse(rewriting, PRIMARY))
    assert not progress.is_complete(parse(LINKED | numbers(aof_rewrite_scheduled=1), PRIMARY))
    later = parse(LINKED, PRIMARY | numbers(master_repl_offset=900))
    progress.see(later)
    assert progress.is_complete(later), "only what was written before the link was there"


@given(st.lists(st.tuples(*[st.integers(0, 1000)] * 7, st.booleans()), max_size=20))
def test_the_share_never_falls_and_never_exceeds_the_whole(reports: list[tuple[int, ...]]) -> None:
    progress = SyncProgress(size=500)
    before = 0.0
    for received, loaded, to_load, saved, to_save, sent, to_send, linked in reports:
        replica = receiving(received) | numbers(
            loading_loaded_bytes=loaded,
            loading_total_bytes=to_load,
            aof_rewrite_in_progress=1,
            current_save_keys_processed=saved,
            current_save_keys_total=to_save,
        )
        progress.see(parse(replica | ({"master_link_status": "up"} if linked else {}), sending(sent, to_send)))
        assert before <= progress.share <= 1.0
        before = progress.share
