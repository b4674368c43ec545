import shutil
import time
from pathlib import Path

import pytest

from flows.policy import mail_host, secure_host
from sandbox import images
from sandbox.commands import CommandFailed, run


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def ensure(cache: Path, *ingredients: str, made: list[Path] | None = None) -> Path:
    """Make a part whose recipe is only its ingredients; notes where it was built."""

    def build(to: Path) -> None:
        (to / "tree").write_text("x")
        if made is not None:
            made.append(to)

    cache.mkdir(exist_ok=True)
    return images._ensure_part(cache, "toy", ingredients, build)


def test_a_part_is_built_once_and_found_again(cache: Path) -> None:
    made: list[Path] = []
    first = ensure(cache, "a", made=made)
    assert ensure(cache, "a", made=made) == first
    assert len(made) == 1
    assert made[0].suffix == ".partial"
    assert (first / "tree").exists()


def test_another_recipe_is_another_build(cache: Path) -> None:
    assert ensure(cache, "a") != ensure(cache, "b")


def test_a_builder_that_died_leaves_nothing_that_counts(cache: Path) -> None:
    def dies(to: Path) -> None:
        (to / "half").touch()
        raise CommandFailed("apt-get: no end")

    cache.mkdir()
    with pytest.raises(CommandFailed):
        images._ensure_part(cache, "toy", ["a"], dies)
    assert [path.suffix for path in cache.iterdir()] == [".partial"]
    finished = ensure(cache, "a")
    assert list(cache.iterdir()) == [finished]


def test_the_two_newest_builds_of_a_part_are_kept(cache: Path) -> None:
    cache.mkdir()
    other = cache / "other-0123456789ab-1"
    other.mkdir()
    for age, key in enumerate(["a" * 12, "b" * 12, "c" * 12]):
        (cache / f"toy-{key}-{1000 - age}").mkdir()
    newest = ensure(cache, "new")
    assert set(cache.iterdir()) == {newest, cache / f"toy-{'a' * 12}-1000", other}


def test_a_build_older_than_a_fortnight_is_made_anew(cache: Path) -> None:
    first = ensure(cache, "a")
    old = first.with_name(f"{first.name.rpartition('-')[0]}-{int(time.time()) - 15 * 86400}")
    first.rename(old)
    assert ensure(cache, "a") != old


@pytest.mark.sandbox
def test_nothing_is_thrown_away_while_a_world_stands_on_the_cache(able: None, cache: Path) -> None:
    cache.mkdir()
    for number in range(4):
        (cache / f"toy-{'a' * 12}-{number}").mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", str(cache / f"toy-{'a' * 12}-0"))
    try:
        ensure(cache, "new")
        assert len(list(cache.iterdir())) == 5
    finally:
        run("umount", str(cache / f"toy-{'a' * 12}-0"))


def test_the_cache_is_where_the_setting_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("PENGUINMAILS_SANDBOX__CACHE_DIR", raising=False)
    assert images.cache_dir() == tmp_path / "xdg" / "penguinmails-sandbox"
    monkeypatch.setenv("PENGUINMAILS_SANDBOX__CACHE_DIR", str(tmp_path / "own"))
    assert images.cache_dir() == tmp_path / "own"


def test_a_recipe_changes_with_its_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(images.RECIPES, tmp_path / "images")
    monkeypatch.setattr(images, "RECIPES", tmp_path / "images")
    before = images._recipe("receiver")
    assert images._recipe("receiver") == before
    (tmp_path / "images/receiver/files/etc/opendmarc.conf").write_text("RejectFailures false\n")
    assert images._recipe("receiver") != before


def test_package_lists_hold_names_and_nothing_else() -> None:
    for image in ("base", *images.LAYERS):
        names = images.packages(image)
        assert names
        assert all(name.replace("-", "").replace(".", "").replace("+", "").isalnum() for name in names)
        assert len(set(names)) == len(names)


def test_a_prepared_mail_host_holds_what_the_product_installs() -> None:
    assert set(images.packages("mail")) == {*secure_host.PACKAGES, *mail_host.PACKAGES}


def test_the_repository_holds_what_the_product_may_install_besides() -> None:
    assert mail_host.ROOT_KEY_PACKAGE in images._names(images.RECIPES / "extra-packages")


def test_a_bare_host_stands_on_the_base_alone(tmp_path: Path) -> None:
    built = images.Images(tmp_path / "base", {"mail": tmp_path / "mail"}, tmp_path / "repository")
    assert built.lower("bare") == str(tmp_path / "base")
    assert built.lower("mail") == f"{tmp_path / 'mail'}:{tmp_path / 'base'}"
