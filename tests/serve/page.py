"""What tests do on the page."""

from __future__ import annotations

from tests.chromium import Browser


def serious(messages: list[str]) -> list[str]:
    """The console's messages without LiteRT.js's log, that there is no GPU here, and that HTTP is not secure."""
    usual = (
        "litert_wasm_",
        "No available adapters.",
        "Failed to create default WebGPU device",
        "origin was untrustworthy",
    )
    return [message for message in messages if not any(each in message for each in usual)]


def do(page: Browser, part: str, button: str = ".start", seconds: float = 60, model: int = 0) -> str:
    """Choose a model, press a button and wait until the part is through. Returns: what it shows."""
    page.script(f"document.querySelector('#model').value = '{model}'")
    page.script(f"document.querySelector('#{part} .result').replaceChildren()")
    page.click(f"#{part} {button}")
    page.wait(
        f"document.querySelector('#{part} progress').hidden && document.querySelector('#{part} .result').innerText",
        seconds,
    )
    return str(page.script(f"document.querySelector('#{part}').innerText"))
