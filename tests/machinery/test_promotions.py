import contextlib
import itertools
import re
import shutil
import threading
import time
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from penguin_classifier.__main__ import main
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.mlflow import aliases, registration, registry

NAME = "penguin-classifier-penguins"
QUICK = ("data=penguins", "evaluation.importance_repeats=0", "evaluation.resamples=50", "evaluation.slices=[]")
WEAK = ("model=forest", "model.n_estimators=3", "model.max_depth=1", "gate.min_scores={}")


def held():
    return aliases.holders(NAME)


def version(number):
    return MlflowClient().get_model_version(NAME, number)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A folder with a store that holds a champion, and a better candidate that waits for somebody to promote it."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copy(store, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        for words in (WEAK, ("model=logistic", "promotion=manual")):
            assert main([*QUICK, *words, f"platform.outputs={folder / 'outputs'}"]) == 0
    return folder


@pytest.fixture
def two(trained, do, outputs):
    """`do`, where that champion and that candidate are; their files stay where they were made."""
    shutil.copy(trained / "mlflow.db", outputs)
    shutil.copytree(trained / "outputs", outputs / "outputs")
    assert held() == {"champion": "1", "challenger": "2"}
    return do


def test_the_story_of_a_champion(do):
    do(*QUICK, *WEAK)
    assert held() == {"champion": "1"}
    _, printed = do(*QUICK, "model=logistic")
    assert f"{NAME} version 2 is champion" in printed and held() == {"champion": "2", "previous": "1"}
    _, printed = do(*QUICK, *WEAK, "model.random_state=9")
    assert "against the champion's" in printed and "worse" in printed and "version 3 is challenger" in printed
    assert held() == {"champion": "2", "previous": "1", "challenger": "3"}

    code, printed = do("promote", "data=penguins", "version=3", "approver=ana")
    assert code == 1 and "version 3 failed the gate (roc_auc 0." in printed and "say why as reason=..." in printed
    code, printed = do("promote", "data=penguins", "version=3", "approver=ana", "reason=a trial")
    assert code == 0 and f"{NAME} version 3 is champion, approved by ana; version 2 is previous" in printed
    assert held() == {"champion": "3", "previous": "2"}
    assert (
        version(3).tags["approver"] == "ana" and version(3).tags["reason"] == "a trial" and version(3).tags["approved"]
    )
    card = MlflowClient().download_artifacts(version(3).run_id, "model_card.md")
    assert re.search(r"\*\*approved by\*\*: ana, 20\S+ \S+ UTC: a trial\n", Path(card).read_text())
    assert "stays champion" in do(*QUICK, *WEAK, "model.random_state=9")[1], "what was approved by hand was taken back"

    code, printed = do("rollback", "data=penguins", "approver=bo", "reason=wrong prices")
    assert code == 0 and "version 2 is champion again; version 3 was taken back by bo" in printed
    assert held() == {"champion": "2", "previous": "1"}
    do(*QUICK, "model=logistic", "gate.max_loss=1")
    _, printed = do(*QUICK, *WEAK, "model.random_state=9", "gate.max_loss=1")
    assert "this model was taken back on" in printed and "by bo: wrong prices" in printed
    assert held()["champion"] == "2", "a version that was taken back came again by itself"
    told = [(each.alias, each.old, each.new, each.who, each.why) for each in aliases.history(NAME)]
    assert ("champion", "3", "2", "bo", "wrong prices") in told and ("champion", "2", "3", "ana", "a trial") in told

    assert do("rollback", "data=penguins")[0] == 0 and held()["champion"] == "1"
    code, printed = do("rollback", "data=penguins")
    assert code == 1 and "has no previous champion to go back to" in printed


def test_a_model_is_promoted_by_hand(two):
    code, printed = two("promote", "data=penguins", "version=2", "approver=ana")
    assert code == 0 and held() == {"champion": "2", "previous": "1"}, printed
    assert "is champion already" in two("promote", "data=penguins", "version=2", "approver=ana")[1]


def test_a_champion_that_was_deleted_is_rolled_back_from(two):
    two("promote", "data=penguins", "version=02", "approver=ana", f"reason={'long ' * 30000}")
    assert held() == {"champion": "2", "previous": "1"}
    MlflowClient().delete_model_version(NAME, "2")
    code, printed = two("rollback", "data=penguins")
    assert code == 0 and "version 1 is champion again; the version after it is gone" in printed, printed
    assert held() == {"champion": "1"}


def test_what_cannot_be_is_one_sentence_and_moves_nothing(two):
    before = held()
    for words, sentence in [
        (["promote", "version=9", "approver=ana"], "-penguins has no such version; it has 1, 2"),
        (["promote", "version=two", "approver=ana"], "version=two: "),
        (["promote", "version=2", "approver="], "approver is empty"),
        (["promote", "version=2"], "approver has no value"),
        (["promote", "approver=ana"], "version has no value"),
        (["rollback"], "has no previous champion"),
        (["rollback", "registered_model=nothing"], "there is no registered model nothing"),
    ]:
        code, printed = two(*words, "data=penguins")
        assert code in (1, 2) and sentence in printed and held() == before, printed
        assert "has no value" in printed or "data=penguins" in printed, "it does not say which dataset it is about"


def test_what_was_taken_back_is_never_previous_again(two):
    MlflowClient().create_model_version(NAME, version(2).source)
    for number in ("2", "3"):
        aliases.promote(NAME, number, over="1", who="ana", why="approved")
        assert aliases.roll_back(NAME, over=number, who="bo", why="wrong") == (number, "1")
        assert "previous" not in held() and held()["champion"] == "1"


def test_of_two_at_the_same_time_one_wins(two):
    """Each has seen version 1; whoever comes second is told that it is no longer champion."""
    MlflowClient().create_model_version(NAME, version(2).source)
    begin, done = threading.Barrier(2), []

    def promote(number):
        begin.wait()
        try:
            aliases.promote(NAME, number, over="1", who="ana", why="approved")
            done.append(number)
        except ProjectError as error:
            assert "became champion meanwhile" in str(error)

    both = [threading.Thread(target=promote, args=[number]) for number in ("2", "3")]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(done) == 1 and held()["champion"] == done[0] and held()["previous"] == "1"
    assert not [each for each in MlflowClient().search_registered_models() if each.name != NAME], "the lock is left"


def test_a_lock_whose_holder_died_is_taken_over(two, monkeypatch):
    MlflowClient().create_registered_model(f"{NAME}.promotion")
    monkeypatch.setattr(aliases, "PATIENCE", 0.3)
    assert two("promote", "data=penguins", "version=2", "approver=ana")[0] == 0 and held()["champion"] == "2"


def test_a_gate_that_fails_can_be_an_error(do):
    code, printed = do(*QUICK, "model=dummy", "gate.on_fail=error")
    assert code == 4 and "version 1 is challenger, the gate failed: roc_auc 0.5000 does not beat" in printed
    assert held() == {"challenger": "1"}
    assert do(*QUICK, "model=dummy")[0] == 0


class Killed(BaseException):
    """What nothing catches that a process does not do when it is killed."""


@pytest.fixture
def kill(monkeypatch):
    """Lets a process die before its write of a number to the registry: `kill(3)`; `kill(0)` lets it live."""
    writes = {"set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias"}
    writes |= {"create_registered_model", "delete_registered_model", "set_model_version_tag"}
    left = [0]

    def patched(name):
        real = getattr(SqlAlchemyStore, name)

        def write(self, *words, **named):
            left[0] -= 1
            if left[0] == 0 or left[0] < -1000:  # and all that comes after: it is dead
                left[0] = -2000
                raise Killed
            return real(self, *words, **named)

        monkeypatch.setattr(SqlAlchemyStore, name, write)

    for name in writes:
        patched(name)
    return lambda at: left.__setitem__(0, at)


def story():
    changes = [each[2:] for each in aliases.history(NAME)]
    return held(), changes, [dict(version(number).tags) | {"approved": ""} for number in ("1", "2")]


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_a_process_killed_before_any_of_its_writes_leaves_no_half_of_them(two, outputs, kill, monkeypatch, command):
    """The same command then does what it does undisturbed, also where all was done and the process could not say so."""
    monkeypatch.setattr(aliases, "PATIENCE", 0.05)
    monkeypatch.setattr(aliases.time, "sleep", lambda _: None)

    def give():
        over, how = held().get("champion"), {"who": "ana", "why": "wrong: prices"}
        with mlflow.start_run():
            if command == "promote":
                return aliases.promote(NAME, "2", over=over, approver="ana", approved="now", **how)
            return aliases.roll_back(NAME, over=over, **how)

    if command == "rollback":
        aliases.promote(NAME, "2", over="1", who="ana", why="approved")
    results, lives = [], False
    for at in itertools.count():
        place = outputs / f"{at}.db"
        shutil.copy(outputs / "mlflow.db", place)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}")
        kill(at)
        with contextlib.suppress(Killed):
            answer, lives = give(), at > 0
        kill(0)
        if at:
            mlflow.tracking.fluent._active_run_stack.get().clear()
            [run] = MlflowClient().search_runs(["0"], max_results=1)
            MlflowClient().set_terminated(run.info.run_id, "KILLED")
            now = MlflowClient().get_registered_model(NAME).aliases
            assert now["champion"] != now.get("previous"), at
            answer = give()
        results.append((answer, story()))
        if lives:
            break
    assert at > 8 and all(each == results[0] for each in results), results


def test_a_clock_that_was_set_back_does_no_harm(two, monkeypatch):
    """What happened is told in its order, and nothing has happened meanwhile that lies ahead."""
    aliases.promote(NAME, "2", over="1", who="ana", why="first", since=time.time())
    now = time.time
    monkeypatch.setattr(aliases.time, "time", lambda: now() - 86_400)
    assert aliases.roll_back(NAME, over="2", who="bo", why="second", since=time.time()) == ("2", "1")
    aliases.promote(NAME, "2", over="1", who="ana", why="third", since=time.time())
    assert held() == {"champion": "2", "previous": "1"}
    assert [each.why for each in aliases.history(NAME) if each.alias == "champion"][:3] == ["third", "second", "first"]


def test_a_version_of_somebody_else_is_said_to_be_one(two):
    MlflowClient().create_model_version(NAME, version(2).source)
    sentence = f"{NAME} version 3 was not registered by this project"
    assert sentence in two("promote", "data=penguins", "version=3", "approver=ana")[1]
    MlflowClient().set_registered_model_alias(NAME, "champion", "3")
    assert two("promote", "data=penguins", "version=2", "approver=ana")[0] == 0
    assert held() == {"champion": "2", "previous": "3"}
    code, printed = two("rollback", "data=penguins")
    assert code == 1 and "version 3 was not registered by this project" in printed


def test_a_damaged_champion_is_told_stays_and_can_be_rolled_back_from(two, outputs):
    assert two("promote", "data=penguins", "version=2", "approver=ana")[0] == 0
    [file] = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/2")).glob("*.skops")
    whole = file.read_bytes()
    middle = len(whole) // 2
    try:
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        table = str(Path(__file__).parents[1] / "data/raw/penguins.csv")
        code, printed = two("predict", "data=penguins", f"input={table}", f"output={outputs}/scores.csv")
        assert code == 1 and "its files are damaged" in printed and not (outputs / "scores.csv").exists(), printed
        code, printed = two(*QUICK, *WEAK, "model.random_state=9")
        assert code == 0 and "stays" in printed and "its files are damaged" in printed, printed
        assert held()["champion"] == "2"
        assert two("rollback", "data=penguins", "approver=ana", "reason=damaged")[0] == 0
        assert held()["champion"] == "1"
    finally:
        file.write_bytes(whole)  # which other tests have too


def test_a_version_whose_process_was_killed_is_still_described(two):
    MlflowClient().delete_model_version_tag(NAME, "2", "gate")
    MlflowClient().update_model_version(NAME, "2", description="")
    how = {"digest": version(2).tags["digest"], "trained": None, "description": "what", "about": "", "tags": {}}
    model_id = version(2).source.rpartition("/")[2]
    made, is_new = registration.register_once(NAME, model_id, **how)
    assert is_new and made.version == "2" and version(2).description.startswith("what\n- **registered**: ")
    registry.note(made, {"gate": "passed"})
    assert not registration.register_once(NAME, model_id, **how)[1]
