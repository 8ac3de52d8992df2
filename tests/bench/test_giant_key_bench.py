"""The benchmark of giant keys still works."""

import pytest

from bench import giant_keys

pytestmark = pytest.mark.node


@pytest.mark.parametrize(("kind", "value"), [("string", "string, 1 MB"), ("stream", "stream, 1,000 of 50 bytes")])
def test_a_row_of_the_table_is_measured(
    kind: str, value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giant_keys, "_QUIET_SECONDS", 0.1)
    monkeypatch.setattr(giant_keys, "_AFTER_SECONDS", 0.1)
    giant_keys.run(kind, strings=(1,), elements=(1000,))
    row = capsys.readouterr().out.splitlines()[-1].split("|")
    assert row[1].strip() == value
    assert [len(column.split("/")) for column in row[4:7]] == [4, 4, 4]
