"""The folder of the results: what is in it already, and what another server or a kill left there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ghostedge.serve.litert_js import LiteRtJs
from tests.serve.conftest import IMAGES, Served
from tests.serve.phones import Phone
from tests.serve.test_server import answers


def test_a_damaged_record_of_another_phone_is_told_to_the_terminal_alone(served: Served) -> None:
    for name, text in (("phone-7/.partial-1a2b3c4d-m.json", '{"kind":'), ("phone-7/m.json", "{")):
        file = served.output / "latency" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    phone = Phone(served.url, served.job)
    phone.join()
    status, said = phone.run(checked=phone.checked(), timed=phone.timed())
    assert status == 200, said
    assert "phone-0" in (served.output / "latency.html").read_text()
    (told,) = [line for line in served.said if "left out of latency.html" in line]
    assert "phone-7/m.json is not JSON" in told


def test_a_ledger_is_judged_beside_one_that_a_kill_left_half_written(
    serve: Any, no_litert_js: LiteRtJs, model: Path, data: Path, reference: Path, tmp_path: Path
) -> None:
    (tmp_path / "ledgers").mkdir()
    (tmp_path / "ledgers" / ".partial-1a2b3c4d-phone-7-m.jsonl").write_text('{"kind":')
    with serve(no_litert_js, tmp_path, [model], reference, data=data) as server:
        phone = Phone(server.url, server.job)
        phone.join()
        assert phone.rows(list(range(IMAGES)), answers(list(range(IMAGES))))[0] == 200
        assert "INCONCLUSIVE" in server.said[-1] or "FAIL" in server.said[-1]
    assert (tmp_path / "parity.html").is_file()
