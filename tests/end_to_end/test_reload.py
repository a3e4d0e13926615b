"""SIGHUP and `reload`: what can be changed is changed at once, what cannot is named, a mistake changes nothing."""
import os
import signal

import pytest

QUESTION = "Is the new threshold in force?"
WORDING = "Does the new threshold hold?"


@pytest.fixture(params=["SIGHUP", "reload"])
def reload(request, daemon):
    """A function that reloads in one of the two ways and says (changed, needs_restart) as texts."""
    count = [0]

    def act():
        daemon.write_config()
        count[0] += 1
        if request.param == "reload":
            result = daemon.client().call("reload")
            return " ".join(result["changed"]), " ".join(result["needs_restart"])
        os.kill(daemon.pid, signal.SIGHUP)
        line = daemon.wait_log(r"reloaded |reload_failed ", count[0])
        if "reload_failed" in line:
            return None
        return line.split('changed="')[1].split('"')[0], line.split('needs_restart="')[1].split('"')[0]
    return act


def test_what_can_be_changed_is_changed_at_once(daemon, upstream, reload):
    upstream.vectors.near(WORDING, QUESTION, 0.8)
    client = daemon.client()
    client.ask(QUESTION)
    assert client.lookup(WORDING)["tier"] == "miss"
    daemon.config["namespace default"]["threshold"] = "0.75"
    changed, needs_restart = reload()
    assert "threshold" in changed and not needs_restart
    assert client.lookup(WORDING)["tier"] == "semantic"
    assert client.call("config")["namespace default"]["threshold"]["value"] in ("0.75", 0.75)


def test_what_needs_a_restart_is_named_and_not_changed(daemon, reload):
    daemon.config["server"]["socket"] = daemon.socket_path + ".new"
    _changed, needs_restart = reload()
    assert "socket" in needs_restart
    assert daemon.client().call("ping") == {}
    assert not os.path.exists(daemon.socket_path + ".new")
    daemon.config["server"]["socket"] = daemon.socket_path


def test_nothing_changed_is_nothing_changed(reload):
    assert reload() == ("", "")


@pytest.mark.parametrize("how", ["SIGHUP", "reload"])
def test_a_mistake_changes_nothing_and_is_named(daemon, upstream, how):
    upstream.vectors.near(WORDING, QUESTION, 0.8)
    client = daemon.client()
    client.ask(QUESTION)
    daemon.config["namespace default"]["threshold"] = "0.75"
    daemon.config["server"]["max_connections"] = "many"
    daemon.write_config()
    if how == "reload":
        text = client.fails("reload", "INVALID").text
    else:
        os.kill(daemon.pid, signal.SIGHUP)
        text = daemon.wait_log("reload_failed")
    assert "max_connections" in text and "[server]" in text
    assert client.lookup(WORDING)["tier"] == "miss"


def test_a_reload_in_the_middle_of_an_answer_disturbs_nothing(daemon, upstream, reload):
    upstream.when(None, lambda chat: None)
    request = daemon.client().stream(QUESTION)
    chat = upstream.wait_chat()
    chat.token("before ")
    request.wait_text("before ")
    daemon.config["namespace default"]["threshold"] = "0.5"
    reload()
    chat.token("and after").finish()
    assert request.answer == "before and after"


def test_a_missing_file_is_a_mistake(daemon):
    os.unlink(daemon.config_path)
    client = daemon.client()
    client.fails("reload", "INVALID")
    assert client.call("ping") == {}


def test_config_tells_every_setting_and_where_it_comes_from(daemon, secret):
    config = daemon.client().call("config")
    assert config["server"]["socket"] == {"value": daemon.socket_path, "origin": "file"}
    assert config["server"]["max_connections"]["origin"] == "default"
    assert config["upstream main"]["models"]["origin"] == "file"
    assert secret not in str(config)
