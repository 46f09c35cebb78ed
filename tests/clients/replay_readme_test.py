"""Proves the replay itself, on a small README, a fake server and a fake grpcurl."""

import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from unittest import mock

import replay_readme
from replay_readme import matches, steps_of

FAKE_SERVER = """\
    #!/usr/bin/env python3
    import pathlib, signal, sys
    if sys.argv[1] == "init":
        sys.exit(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if "--root-token-file" in sys.argv:
        file = sys.argv[sys.argv.index("--root-token-file") + 1]
        pathlib.Path(file).write_text("fake-root\\n")
    print("starting", flush=True)
    print("listening on 127.0.0.1:4711", flush=True)
    signal.pause()
    """

FAKE_GRPCURL = """\
    #!/usr/bin/env bash
    case "$*" in
      *Health/Check) echo '{ "status": "SERVING" }' ;;
      *fail*) echo 'Code: NotFound' >&2; exit 69 ;;
      *) printf '{\\n  "asked": "%s",\\n  "id": "%s"\\n}\\n' "$*" "$RANDOM" ;;
    esac
    """

README = """\
    # A thing

    ```console
    $ not replayed
    ```

    ```console replay
    $ export ID=$(grpcurl -plaintext localhost:50051 a | wc -l | tr -d ' ')
    $ grpcurl -plaintext \\
        -H "authorization: Bearer $TOKEN" 127.0.0.1:50051 b
    {
      "asked": "-plaintext -H authorization: Bearer … localhost:50051 b",
      "id": "…"
    }
    ```

    1. In a list:

       ```console replay
       $ echo "$ID lines" && cat "$HOME/.config/token-authority/root-token" | wc -l
       4 lines
       …1
       $ grpcurl fail
       Code: NotFound
       ```
    """


class TheMatcher(unittest.TestCase):
    def test_equal_lines_match_whatever_blank_follows(self):
        self.assertTrue(matches(["a", "b"], ["a  ", "b", ""]))
        self.assertFalse(matches(["a", "b"], ["a"]))
        self.assertFalse(matches(["a"], ["a", "b"]))
        self.assertTrue(matches([], []))
        self.assertFalse(matches([], ["a"]))

    def test_an_ellipsis_within_a_line_stays_within_the_line(self):
        self.assertTrue(matches(['"id": "…",'], ['"id": "x.*y",']))
        self.assertFalse(matches(['"id": "…",'], ['"id": "x"']))
        self.assertFalse(matches(["a…b"], ["a", "b"]))
        self.assertFalse(matches(["a.c"], ["abc"]))

    def test_a_lone_ellipsis_takes_any_number_of_lines(self):
        for between in ([], ["x"], ["x", "a", "y"]):
            self.assertTrue(matches(["a", "…", "b"], ["a", *between, "b"]))
        self.assertTrue(matches(["…"], []))
        self.assertTrue(matches(["{", "  …", "}"], ["{", "  x", "  y", "}"]))
        self.assertFalse(matches(["a", "…", "b"], ["a", "x"]))
        self.assertTrue(matches(["…", "b", "…", "c"], ["b", "b", "c", "c"]))


class TheReader(unittest.TestCase):
    def test_only_marked_blocks_are_read_with_their_continued_lines(self):
        steps = steps_of(textwrap.dedent(README))
        self.assertEqual([step.line for step in steps], [8, 9, 20, 23])
        self.assertEqual(len(steps[1].command.splitlines()), 2)
        self.assertEqual(steps[2].expected, ["4 lines", "…1"])
        self.assertEqual(steps[3].expected, ["Code: NotFound"])

    def test_output_before_a_command_is_refused(self):
        with self.assertRaises(ValueError):
            steps_of("```console replay\noutput\n```\n")


class TheReplay(unittest.TestCase):
    def replayed(self, readme):
        with tempfile.TemporaryDirectory() as directory:
            place = pathlib.Path(directory)
            for name, text in (("server", FAKE_SERVER), ("grpcurl", FAKE_GRPCURL)):
                (place / name).write_text(textwrap.dedent(text))
                (place / name).chmod(0o755)
            (place / "README.md").write_text(textwrap.dedent(readme))
            command = [sys.executable, replay_readme.__file__]
            command += ["--readme", str(place / "README.md"), "--binary", str(place / "server")]
            command += ["--grpcurl", str(place / "grpcurl")]
            answer = subprocess.run(
                command, capture_output=True, text=True, timeout=120, env={**os.environ}
            )
            return answer.returncode, answer.stdout + answer.stderr

    def test_a_true_readme_passes_on_both_stores(self):
        status, output = self.replayed(README)
        self.assertEqual(status, 0, output)
        self.assertEqual(output.count("4 commands replayed, 0 mismatches"), 2, output)

    def test_a_false_readme_fails_and_shows_both_sides(self):
        status, output = self.replayed(README.replace("4 lines", "5 lines"))
        self.assertEqual(status, 1, output)
        self.assertIn("README.md:20", output)
        self.assertIn("    5 lines\n", output)
        self.assertIn("    4 lines\n", output)

    def test_a_failing_silent_or_shell_ending_command_is_noticed(self):
        for command in ("false", "exit 3", "echo unexpected"):
            status, output = self.replayed(f"```console replay\n$ {command}\n```\n")
            self.assertEqual(status, 1, output)

    def test_a_command_that_hangs_is_ended_with_all_it_started(self):
        begun = time.monotonic()
        with mock.patch.object(replay_readme, "COMMAND_SECONDS_MAX", 0.5):
            with replay_readme.Bash(dict(os.environ), pathlib.Path.cwd()) as bash:
                status, output = bash.run("sleep 30 | cat")
        self.assertEqual((status, output), (-1, ["(the command took too long)"]))
        self.assertLess(time.monotonic() - begun, 10)

    def test_a_readme_without_blocks_fails(self):
        status, output = self.replayed("# Nothing\n")
        self.assertEqual(status, 1, output)
        self.assertIn("no block", output)


if __name__ == "__main__":
    unittest.main()
