"""What is said in two places is the same in both, and what the repository promises of its texts is true."""
import os
import re
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LONGEST_FILE = 700
OURS = (".c", ".h", ".py", ".sh", "check", "quickstart", "CMakeLists.txt")


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def files():
    """What is in the repository, or about to be."""
    listed = subprocess.run(["git", "-C", TOP, "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True,
                            text=True).stdout.split("\n")
    return [name for name in listed if name and os.path.isfile(os.path.join(TOP, name))]


def table(header, name):
    """The first column of an X-macro's table."""
    text = read(header)
    body = text[text.index(f"#define {name}(X"):].split("\n\n", 1)[0]
    return re.findall(r"\bX\(\s*(\w+)", body)


def test_every_method_is_on_the_page_of_the_wire():
    page = read("proto/wire.md")
    missing = [method for method in table("proto/method.h", "METHOD_TABLE") if f"`{method}`" not in page and
               f"## {method}" not in page]
    assert not missing


def test_every_error_that_the_daemon_sends_is_on_the_page_of_the_wire():
    page = read("proto/wire.md")
    only_in_programs = {"MEMORY", "CONNECT", "CLOSED", "PROTOCOL", "PENDING"}
    assert not [code for code in table("proto/error.h", "ERROR_TABLE") if code not in only_in_programs and code not in page]


def test_files_are_short():
    lengths = {name: read(name).count("\n") for name in files() if name.endswith((".c", ".h", ".py"))}
    assert not {name: length for name, length in lengths.items() if length > LONGEST_FILE}


def test_nothing_is_left_for_later():
    marker = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    assert not [name for name in files() if name.endswith(OURS) and marker.search(read(name))]


def test_nothing_names_this_machine():
    pattern = re.compile(r"/work/|/root/\w|/home/\w")
    assert not [name for name in files() if name.endswith((*OURS, ".md", ".1", ".3", ".5", ".8", ".in", ".conf", ".service"))
                and name != "tests/rules/test_texts.py" and pattern.search(read(name))]
