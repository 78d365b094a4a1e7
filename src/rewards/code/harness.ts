import { JUDGE_SIDE } from "./harness-judge.ts";
import { PROGRAM_SIDE } from "./harness-program.ts";
import { TEST_RUN } from "./harness-test.ts";
import { WIRE } from "./harness-wire.ts";

/** Modules that programs often use, imported before the snapshot that every run starts from. */
const PRELOADED =
  "string re datetime collections heapq bisect copy math cmath random statistics itertools functools operator io sys json typing " +
  "decimal fractions dataclasses enum array hashlib time textwrap contextlib types abc numbers traceback ast builtins";

/**
 * LiveCodeBench's `import_string`: names that its programs may use without importing them.
 *
 * @see lcb_runner/evaluation/testing_util.py, github.com/LiveCodeBench/LiveCodeBench
 */
export const LIVECODEBENCH_PRELUDE = `${[
  ..."string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json builtins typing"
    .split(" ")
    .map((name) => `from ${name} import *`),
  ..."string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json"
    .split(" ")
    .map((name) => `import ${name}`),
].join("\n")}
sys.setrecursionlimit(50000)
`;

/**
 * Python's side of the sandbox: removes all access to JavaScript from the interpreter, then returns the address of a
 * function that runs one job. The function reads the job as JSON from the channel, and writes the outcome:
 *
 * - `stage`: the stage that ended: compile, program or test; "done" after the last
 * - `error`: null, or type, message, line in the program, and kind of error
 * - `value`: of a call; values that JSON does not have are tagged
 *
 * Expected results stay outside, so that a program cannot look them up.
 */
export const HARNESS = `
import ${PRELOADED.split(" ").join(", ")}
import atexit, gc, os, importlib, importlib.machinery
${WIRE}${PROGRAM_SIDE}${JUDGE_SIDE}${TEST_RUN}

HIDDEN = {"js", "pyodide", "pyodide_js", "_pyodide", "_pyodide_core", "ctypes", "_ctypes"}

class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}: not in this sandbox", name=name)

# asyncio had a JavaScript event loop
for name in [name for name in sys.modules if name.partition(".")[0] in HIDDEN | {"asyncio"}]:
    del sys.modules[name]
sys.meta_path[:] = [Hidden, importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, importlib.machinery.PathFinder]
sys.argv, sys.executable, sys.orig_argv = ["solution.py"], "", []
# Programs written for 64 bits use it as infinity.
sys.maxsize = 2**63 - 1

def make_run():
    exit = type("Exit", (BaseException,), {})
    channel_path = "/dev/channel"
    loads, dumps, read, write, open_fd, close = json.loads, json.dumps, os.read, os.write, os.open, os.close

    def leave(code):
        raise exit(code)

    def plain(value, top=False):
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return {"int": hex(value)}
        if kind is float:
            return {"float": float.__repr__(value)}
        if isinstance(value, list) or (top and isinstance(value, tuple)):
            return [plain(item) for item in value]
        if isinstance(value, dict) and all(type(key) is str for key in value):
            return {"dict": [[key, plain(item)] for key, item in value.items()]}
        for base, exact in ((int, int.__int__), (float, float.__float__), (str, str.__str__)):
            if isinstance(value, base):
                return plain(exact(value))
        return {"other": f"{kind.__module__}.{kind.__qualname__}"}

    def told(error, stage):
        place, frame = None, error.__traceback__
        while frame is not None:
            if frame.tb_frame.f_code.co_filename == "solution.py":
                place = frame.tb_lineno
            frame = frame.tb_next
        if stage == "compile":
            place = getattr(error, "lineno", None)
        try:
            message = str(error)[:500]
        except BaseException:
            message = ""
        return {
            "type": type(error).__name__,
            "message": message,
            "line": place,
            "memory": isinstance(error, MemoryError) or (isinstance(error, OverflowError) and "index-sized" in message),
            "assertion": False,
            "exit": None,
        }

    def status(error):
        code = error.args[0] if error.args else None
        return 0 if code is None else code if type(code) is int else 1

    def attempt(stage, body):
        try:
            body()
            return None
        except (SystemExit, exit) as error:
            return {"type": type(error).__name__, "message": "", "line": None, "memory": False, "assertion": False, "exit": status(error)}
        except BaseException as error:
            return told(error, stage)

    def perform(job, side):
        module = types.ModuleType(job["name"])
        if job["name"] == "__main__":
            sys.modules["__main__"] = module
        space = side.space = module.__dict__
        os._exit = leave
        compiled, value = [], []

        def compile_all():
            compiled.append(compile(job["code"], "solution.py", "exec", dont_inherit=True))

        def program():
            if job["prelude"]:
                exec(compile(job["prelude"], "prelude", "exec", dont_inherit=True), space)
            exec(compiled[0], space)

        def call():
            if job["call"] is not None:
                owner = space["Solution"]() if "class Solution" in job["code"] else module
                value.append(plain(getattr(owner, job["call"])(*loads(job["args"])), True))

        def close_down():
            atexit._run_exitfuncs()
            sys.stdout.flush()

        for stage, body in (("compile", compile_all), ("program", program), ("test", call)):
            error = attempt(stage, body)
            if error:
                break
        else:
            stage = "done"
        late = attempt("program", sys.stdout.flush if job["tested"] else close_down)
        if late and not error:
            stage, error = "program", late
        return {"stage": stage, "error": error, "value": value[0] if value else None}

    def examine(job, side):
        body, count = run_test(job, side)
        error, stage = None, "done"
        try:
            body()
        except BaseException as caught:
            error = side.foreign.get(id(caught)) or attempt("test", lambda: raise_again(caught))
            if id(caught) not in side.foreign:
                error["assertion"] = isinstance(caught, AssertionError)
            stage = "test"
        if side.failure:
            error, stage = side.failure, "test"
        return {"stage": stage, "error": error, "value": None, "asserts": count[0], "secret": job["secret"]}

    def raise_again(error):
        raise error

    def read_all(fd):
        parts = []
        while part := read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)

    side = []
    def run():
        channel = open_fd(channel_path, os.O_RDWR)
        message = loads(read_all(channel))
        kind = message.get("kind")
        if kind == "program":
            side.append(make_program_side(make_wire(), told, status, exit))
            answer = perform(message, side[0])
        elif kind == "test":
            side.append(make_judge_side(make_wire()))
            answer = examine(message, side[0])
        else:
            answer = side[0].serve(loads(message["text"]))
        data = dumps(answer).encode()
        del answer, message
        while data:
            data = data[write(channel, data):]
        close(channel)

    return run

def standard(fd, mode, errors):
    return open(fd, mode, encoding="utf-8", errors=errors, newline=None if mode == "r" else "\\n", closefd=False)

sys.stdin = sys.__stdin__ = standard(0, "r", "strict")
sys.stdout = sys.__stdout__ = standard(1, "w", "strict")
sys.stderr = sys.__stderr__ = standard(2, "w", "backslashreplace")
gc.collect()
id(run := make_run())
`;
