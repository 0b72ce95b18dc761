# SPDX-License-Identifier: Apache-2.0
"""A plan as the hook's words and back."""

from __future__ import annotations

import shlex

import plans
import pytest

from gpubind import plan, words
from gpubind.errors import UsageError


def said(operations: list[plan.Operation]) -> list[object]:
    return [
        (one.folders, one.libraries, one.libraries32)
        if isinstance(one, plan.LdCache)
        else (one.target, one.link)
        if isinstance(one, plan.Link)
        else one.words()
        for one in operations
    ]


@pytest.mark.parametrize(
    "operations",
    [
        plans.PLAN,
        [],
        [plans.LINK],
        [plans.CACHE],
        [plan.Link("../x -> y", "/a b/ü"), plan.Link("--link", "/--link")],
        [plan.LdCache([], [])],
        [plan.LdCache(["/a", "/b"], ["/a/x=1"], []), plan.LdCache(["/c"], ["/c/y"])],
    ],
)
def test_what_is_said_is_understood(operations: list[plan.Operation]) -> None:
    line = words.parse(words.of(operations))
    assert said(line.operations) == said(operations)
    assert line.unknown == []


def test_a_plan_is_one_line_of_words() -> None:
    assert words.of(plans.PLAN) == shlex.split(
        "create-symlinks --link libcuda.so.1::/usr/lib/gpu/libcuda.so"
        " --link libx.so.1::/usr/lib/gpu/libx.so"
        " update-ldcache --folder /usr/lib/gpu --library /usr/lib/gpu/libcuda.so.1"
        " --library32 /usr/lib32/libcuda.so.1"
    )


def test_a_value_may_stand_behind_an_equals_sign() -> None:
    line = words.parse(
        ["create-symlinks", "--link=t::/l", "update-ldcache", "--folder=/f", "--library=/f/l"]
    )
    assert said(line.operations) == [("t", "/l"), (("/f",), ("/f/l",), ())]


def test_a_link_said_twice_is_made_once() -> None:
    line = words.parse(shlex.split("create-symlinks --link t::/l --link t::/l"))
    assert said(line.operations) == [("t", "/l")]


def test_the_fields_ldconfig_is_accepted_and_unused() -> None:
    line = words.parse(shlex.split("update-ldcache --ldconfig-path @/sbin/ldconfig --folder /f"))
    assert said(line.operations) == [["update-ldcache", "--folder", "/f"]]


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("newer --mode 755 --path /dev/dri create-symlinks --link t::/l", ["newer"]),
        ("create-symlinks --link t::/l newer --mode 755", ["newer"]),
        ("new-hook update-ldcache newer-hook --x", ["new-hook", "newer-hook"]),
        ("newer", ["newer"]),
    ],
)
def test_an_unknown_hook_is_skipped_with_its_options(line: str, unknown: list[str]) -> None:
    read = words.parse(shlex.split(line))
    assert read.unknown == unknown
    assert len(read.operations) == line.count("-symlinks") + line.count("-ldcache")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--link t::/l", "there is no option --link [ARG-OPTION]"),
        ("--debug create-symlinks", "there is no option --debug [ARG-OPTION]"),
        ("create-symlinks --folder /f", "create-symlinks has no option --folder [ARG-OPTION]"),
        ("update-ldcache --new x", "update-ldcache has no option --new [ARG-OPTION]"),
        ("update-ldcache --new=x", "update-ldcache has no option --new [ARG-OPTION]"),
        ("create-symlinks --link", "create-symlinks: --link needs a value [ARG-VALUE]"),
        ("update-ldcache --folder lib", "update-ldcache: 'lib' is not absolute [ARG-VALUE]"),
        ("update-ldcache --library ''", "update-ldcache: '' is not absolute [ARG-VALUE]"),
        ("update-ldcache --library32 x", "update-ldcache: 'x' is not absolute [ARG-VALUE]"),
    ],
)
def test_a_bad_option_is_bad_usage(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        words.parse(shlex.split(line))
    assert (str(caught.value), caught.value.status) == (message, 2)


@pytest.mark.parametrize("link", ["", "t", "t:/l", "::/l", "t::", "t::l", "t::../l", "t::/l::/m"])
def test_a_link_is_a_target_and_an_absolute_name(link: str) -> None:
    with pytest.raises(UsageError, match=r"is not TARGET::LINK with an absolute LINK \[ARG-LINK\]"):
        words.parse(["create-symlinks", "--link", link])


def test_the_words_are_left_as_they_are() -> None:
    given = ["create-symlinks", "--link", "t::/l"]
    words.parse(given)
    assert given == ["create-symlinks", "--link", "t::/l"]
