"""Runs command lines of a generated project in one process, which saves its imports: a JSON list on each line of stdin,
[exit code, what was printed] on each line of stdout. Started by the project's own Python, in its folder."""

import contextlib
import importlib
import io
import json
import sys
import traceback
import warnings

sys.path.insert(0, ".")
warnings.simplefilter("ignore")
main = importlib.import_module(f"{sys.argv[1]}.__main__").main
answers = sys.stdout
for line in sys.stdin:
    words, printed = json.loads(line), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            if words[0] == "rival":
                rival = importlib.import_module("rival")
                code, _ = 0, print(rival.score(*words[1:]))
            else:
                code = main(words)
        except Exception:
            code = 99
            traceback.print_exc(file=printed)
    print(json.dumps([code, printed.getvalue()]), file=answers, flush=True)
