"""The folder of the results: what is in it already, and what another server or a kill left there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ghostedge.errors import DeviceError, OutputError
from ghostedge.serve.job import make_job
from ghostedge.serve.litert_js import LiteRtJs
from ghostedge.serve.messages import PhoneMessage
from ghostedge.serve.results import Results
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


def test_a_page_that_stayed_open_goes_on_with_a_new_server(
    serve: Any, no_litert_js: LiteRtJs, model: Path, data: Path, tmp_path: Path
) -> None:
    with serve(no_litert_js, tmp_path, [model], data=data) as server:
        Phone(server.url, server.job).join()
    with serve(no_litert_js, tmp_path, [model], data=data) as server:
        phone = Phone(server.url, server.job)  # which was measuring meanwhile
        status, said = phone.run(checked=phone.checked(), timed=phone.timed())
        assert status == 200, said
        assert said["device"]["host"] == "Phone 0"


@pytest.fixture
def results(model: Path, tmp_path: Path) -> Results:
    return Results(make_job([model]), "0", tmp_path, None, lambda text: None)


def test_the_next_run_knows_the_port(results: Results, model: Path, tmp_path: Path) -> None:
    assert results.port == 0
    results.listening(8123)
    assert Results(make_job([model]), "0", tmp_path, None, lambda text: None).port == 8123


def test_the_token_is_never_readable_to_others(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, place = [], Path.replace

    def replaced(self: Path, target: Path) -> Path:
        modes.append(self.stat().st_mode & 0o777)
        return place(self, target)

    monkeypatch.setattr(Path, "replace", replaced)
    results.join(PhoneMessage("0" * 32, "One", "a test"))
    assert modes == [0o600]


def test_a_phone_whose_name_could_not_be_kept_has_none(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full_disk)
        with pytest.raises(OutputError):
            results.join(PhoneMessage("0" * 32, "One", "a test"))
    with pytest.raises(DeviceError, match="has not joined"):
        results.phone("0" * 32)
    assert results.join(PhoneMessage("1" * 32, "One", "a test")) == "one"
    assert results.join(PhoneMessage("0" * 32, "One", "a test")) == "one-2"


def full_disk(self: Path, target: Path) -> Path:
    raise OSError(28, "No space left on device")


def test_a_phone_says_one_line_of_itself(model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    results = Results(make_job([model]), "0", tmp_path, None, said.append)
    results.join(PhoneMessage("0" * 32, "One", "a test\r\nphone-2: PASS\x1b[2J"))
    assert said == ["one: a test\\u000d phone-2: PASS\\u001b[2J"]


OUTSIDE = {"token": "x" * 22, "phones": {"0" * 32: "../../evil"}}


@pytest.mark.parametrize("state", [{"token": ""}, OUTSIDE])
def test_a_state_that_names_other_folders_is_refused(model: Path, tmp_path: Path, state: dict[str, Any]) -> None:
    (tmp_path / ".serve.json").write_text(json.dumps(state))
    with pytest.raises(DeviceError, match=r"\.serve\.json: .*matching regex"):
        Results(make_job([model]), "0", tmp_path, None, lambda text: None)
