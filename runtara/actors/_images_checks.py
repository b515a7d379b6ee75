"""What a call about images may hold: the limits and alphabets of its fields, as in `_dispatch_checks`."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

import msgspec

from runtara import messages
from runtara.actors._dispatch_checks import (
    TEXT_MAX_BYTES,
    check_environment,
    check_integer,
    check_page,
    check_text,
    encoded,
)
from runtara.clock import SPAN_MAX_MS
from runtara.decoders import json_decoder
from runtara.errors import InvalidInput, TooLarge
from runtara.records import ImageKind, ImageOptions, Network

__all__ = ["DEFAULTS_MAX_BYTES", "IMAGE_CHECKS", "PART_MAX_BYTES", "check_image"]

PART_MAX_BYTES: Final = 4 * 1024 * 1024
"""Most bytes of an image that are written or read at once."""

DEFAULTS_MAX_BYTES: Final = 1024 * 1024
"""Longest defaults of inputs."""

_COMMAND_MAX: Final = 256
"""Most words of a command."""

_AMOUNT_MAX: Final = 2**53
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z", re.ASCII)
_ID: Final = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}\Z", re.ASCII)
_OBJECT: Final = json_decoder(dict[str, msgspec.Raw])


def check_image(named: object) -> None:
    """Raise `InvalidInput` unless it is the name or id of an image, perhaps with a version behind it."""
    text = encoded(named, "image").decode()
    name, at, version = text.partition("@")
    if not _NAME.match(name) or (at and not _VERSION.match(version)):
        raise InvalidInput(
            f"image {text!a:.200} is not allowed: name it with letters, digits and . _ -, and one of its versions "
            "as in report@3"
        )


def _check_push(command: messages.PushImage) -> None:
    check_image(command.name)
    if "@" in command.name or _ID.match(command.name):
        raise InvalidInput(f"image {command.name!a} cannot be pushed: give it a name without @ that is not like an id")
    if command.kind not in get_args(ImageKind):
        raise InvalidInput(f"image kind {command.kind!a:.80} is unknown: use {', '.join(get_args(ImageKind))}")
    _check_digest(command.digest)
    check_integer(command.size, "size", 1, 2**53)
    check_text(command.description, "description")
    if "\0" in command.description:
        raise InvalidInput("description holds a NUL character: remove it")
    _check_object(command.metadata, "metadata", TEXT_MAX_BYTES)
    if command.defaults is not None:
        _check_object(command.defaults, "defaults", DEFAULTS_MAX_BYTES)
    _check_options(command.options)


def _check_digest(digest: object) -> None:
    if not isinstance(digest, str) or not _DIGEST.match(digest):
        raise InvalidInput(f"digest {digest!a:.80} is not allowed: give the SHA-256 as 64 hexadecimal digits")


def _check_object(data: object, what: str, most: int) -> None:
    if not isinstance(data, bytes):
        raise InvalidInput(f"{what} must be bytes, not {type(data).__name__}: encode it as JSON first")
    if len(data) > most:
        raise TooLarge(f"{what} has {len(data)} bytes: at most {most} are allowed; shorten it")
    try:
        data.decode()  # values are not looked into, and would not be found to be no text
        _OBJECT.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{what} is not a JSON object: {error}") from None


def _check_options(options: object) -> None:
    if not isinstance(options, ImageOptions):
        raise InvalidInput(f"options must be ImageOptions, not {type(options).__name__}")
    _check_command(options.command)
    check_environment(options.env)
    for name, most in _NUMBERS.items():
        value = getattr(options, name)
        if value is not None:
            check_integer(value, name, 1, most)
    cpus: object = options.cpus
    if cpus is not None and (isinstance(cpus, bool) or not isinstance(cpus, int | float) or not 0 < cpus <= 4_096):
        raise InvalidInput(f"cpus {cpus!r} is not allowed: use a number above 0, at most 4096")
    if options.network is not None and options.network not in get_args(Network):
        raise InvalidInput(f"network {options.network!a:.80} is unknown: use {', '.join(get_args(Network))}")


_NUMBERS: Final[Mapping[str, int]] = {
    "memory_bytes": _AMOUNT_MAX,
    "pids": 2**22,
    "fuel": _AMOUNT_MAX,
    "timeout_ms": SPAN_MAX_MS,
    "max_concurrent": 1_000_000,
}


def _check_command(command: object) -> None:
    if not isinstance(command, tuple) or len(command) > _COMMAND_MAX:
        raise InvalidInput(f"command must be at most {_COMMAND_MAX} words")
    size = sum(len(encoded(word, "a word of the command")) for word in command)
    if size > TEXT_MAX_BYTES or any("\0" in word for word in command):
        raise InvalidInput(f"command is not allowed: use at most {TEXT_MAX_BYTES} bytes, without NUL")
    if command and not command[0]:
        raise InvalidInput("command begins with an empty word: name the program there")


def _check_write(command: messages.WriteImage) -> None:
    _check_digest(command.digest)
    check_integer(command.offset, "offset", 0, 2**53)
    if not isinstance(command.data, bytes):
        raise InvalidInput(f"data must be bytes, not {type(command.data).__name__}")
    if not 1 <= len(command.data) <= PART_MAX_BYTES:
        raise TooLarge(f"data has {len(command.data)} bytes: write 1 to {PART_MAX_BYTES} at once")


def _check_read(command: messages.ReadImage) -> None:
    check_image(command.image)
    check_integer(command.offset, "offset", 0, 2**53)
    check_integer(command.limit, "limit", 1, PART_MAX_BYTES)


def _check_named(command: messages.GetImage | messages.UseImageVersion | messages.DeleteImage) -> None:
    check_image(command.image)


def _check_versions(command: messages.ListImageVersions) -> None:
    check_image(command.image)
    check_page(command)


IMAGE_CHECKS: Final[dict[type, Callable[[Any], None]]] = {
    messages.PushImage: _check_push,
    messages.WriteImage: _check_write,
    messages.ReadImage: _check_read,
    messages.GetImage: _check_named,
    messages.ListImages: check_page,
    messages.ListImageVersions: _check_versions,
    messages.UseImageVersion: _check_named,
    messages.DeleteImage: _check_named,
}
