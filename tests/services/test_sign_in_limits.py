"""Turns and queues of sign-ins, and counts of wrong passwords."""

import asyncio
from contextlib import suppress

import pytest

from cachewright.errors import ApiError
from cachewright.hosts.addresses import network
from cachewright.services.sign_in_limits import Lane, SignInQueue, WrongPasswords

STRANGER, OTHER, KNOWN = Lane("a", False), Lane("b", False), Lane("a", True)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wrong(clock: Clock) -> WrongPasswords:
    return WrongPasswords(clock)


def is_allowed(wrong: WrongPasswords, address: str, name: str) -> bool:
    try:
        wrong.require_allowed(address, name)
    except ApiError as refusal:
        return not (refusal.code == "DCS.4962" and 1 <= refusal.fields["retry_after"] <= 60)
    return True


async def turns(lanes: list[Lane]) -> list[int | None]:
    """Order in which concurrent sign-ins get their turns; None for those without a place."""
    queue, order = SignInQueue(), []

    async def come(number: int) -> int | None:
        try:
            async with queue.turn(lanes[number]):
                order.append(number)
                await asyncio.sleep(0)
        except ApiError:
            return None
        return number

    came = await asyncio.gather(*(come(number) for number in range(len(lanes))))
    return [order.index(number) if number is not None else None for number in came]


async def test_addresses_have_their_turns_one_after_another() -> None:
    assert await turns([STRANGER, STRANGER, STRANGER, OTHER, KNOWN]) == [0, 1, 4, 2, 3]


async def test_an_address_has_few_places() -> None:
    got = await turns([STRANGER] * 10 + [KNOWN, OTHER])
    assert got[:6].count(None) == 0
    assert got[6:10] == [None] * 4
    assert None not in got[10:]


async def test_many_addresses_leave_a_place_for_the_next() -> None:
    crowd = [Lane(f"c{number}", False) for number in range(100) for _ in range(10)]
    got = await turns([*crowd, OTHER, KNOWN])
    assert None not in got[-2:]
    assert len([place for place in got if place is not None]) <= 203


async def test_who_gives_up_leaves_the_turn_to_the_next() -> None:
    queue = SignInQueue()

    async def take() -> None:
        async with queue.turn(STRANGER):
            await asyncio.sleep(0)

    async with queue.turn(OTHER):
        waiting = [asyncio.create_task(take()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
    waiting[1].cancel()  # has just been given the turn
    for task in waiting:
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
    await asyncio.wait_for(take(), 10)


def test_ten_wrong_passwords_of_a_name_are_too_many_however_long_they_take(wrong: WrongPasswords, clock: Clock) -> None:
    for _ in range(10):
        assert is_allowed(wrong, "a", "alice")
        wrong.failed("a", "alice")
        clock.now += 59
    clock.now -= 59
    assert not is_allowed(wrong, "a", "alice")
    assert is_allowed(wrong, "b", "alice")
    assert is_allowed(wrong, "a", "bob")
    clock.now += 60
    assert is_allowed(wrong, "a", "alice")
    wrong.failed("a", "alice")
    assert not is_allowed(wrong, "a", "alice")
    clock.now += 601
    wrong.failed("a", "alice")
    assert is_allowed(wrong, "a", "alice")


def test_a_right_password_forgives_wrong_ones(wrong: WrongPasswords) -> None:
    for _ in range(3):
        for _ in range(9):
            wrong.failed("a", "alice")
        wrong.succeeded("a", "alice")
        assert is_allowed(wrong, "a", "alice")


def test_an_address_waits_after_many_wrong_passwords_but_for_its_known_names(
    wrong: WrongPasswords, clock: Clock
) -> None:
    wrong.succeeded("a", "alice")
    for number in range(100):
        assert is_allowed(wrong, "a", "bob")
        wrong.failed("a", f"nobody-{number}")
    assert not is_allowed(wrong, "a", "bob")
    assert is_allowed(wrong, "a", "alice")
    assert is_allowed(wrong, "b", "bob")
    clock.now += 60
    assert is_allowed(wrong, "a", "bob")


def test_names_that_are_invented_take_no_more_than_so_much_memory(wrong: WrongPasswords) -> None:
    for number in range(11_000):
        wrong.failed(f"a{number}", f"nobody-{number}")
        wrong.succeeded(f"b{number}", f"somebody-{number}")
    kept = (wrong._of_name, wrong._of_address, wrong._known)
    assert [len(one) for one in kept] == [10_000] * 3


@pytest.mark.parametrize(
    ("source", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
        ("x", "x"),
    ],
)
def test_addresses_of_one_host_count_as_one(source: str, counted: str) -> None:
    assert network(source) == counted
