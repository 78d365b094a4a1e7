/**
 * Python code that runs a test: finds the names that it takes from the program, and counts the assertions it reached.
 */
export const TEST_RUN = `
def run_test(job, side):
    """Runs a test against the program next door. Returns what it came to."""
    counter = f"_asserted_{job['secret']}"
    module = types.ModuleType("solution")
    space = module.__dict__
    count = [0]

    class Counted(ast.NodeTransformer):
        possible = 0
        def visit_Assert(self, node):
            # assert False marks code that a test should not reach
            if not (isinstance(node.test, ast.Constant) and not node.test.value):
                self.possible += 1
            call = ast.Expr(ast.Call(ast.Name(counter, ast.Load()), [], []))
            return [node, ast.fix_missing_locations(ast.copy_location(call, node))]

    def reached():
        count[0] += 1

    def body():
        given = None
        if job["given"]:
            try:
                given = compile(job["given"], "given", "exec", dont_inherit=True)
            except (SyntaxError, ValueError):
                pass
        if given:
            try:
                exec(given, space)
            except Exception:
                pass
        if job["entry"]:
            space.pop(job["entry"], None)
        tree = ast.parse(job["code"], "test")
        wanted = names_of(tree, job["entry"], space)
        found = side.request({"op": "names", "names": wanted})
        space.update({name: found[name] for name in wanted if name in found})
        lines = [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        if lines:
            side.request({"op": "imports", "lines": lines})
        counted = Counted()
        tree = counted.visit(tree)
        space[counter] = reached
        exec(compile(tree, "test", "exec", dont_inherit=True), space)
        if counted.possible and not count[0]:
            raise AssertionError("none of the test's assertions was reached")
    return body, count

# Missing libraries: a program with its own module of such a name would decide what counts as close.
ABSENT = set("np numpy pd pandas scipy sympy torch tf pytest".split())

def library_names():
    """What a test without imports may mean: mathematics, and collections that results are counted and compared with."""
    found = {name: value for name, value in vars(math).items() if not name.startswith("_")}
    for module, names in ((collections, "Counter OrderedDict defaultdict deque namedtuple"), (fractions, "Fraction"), (decimal, "Decimal"),
                          (functools, "reduce partial"), (copy, "deepcopy"), (itertools, "chain permutations combinations"),
                          (datetime, "timedelta"), (io, "StringIO"), (contextlib, "redirect_stdout suppress")):
        found.update({name: getattr(module, name) for name in names.split()})
    return found

def names_of(tree, entry, space):
    """The names that a test takes from the program. Python's own stay Python's own, or a program could replace them."""
    used, called, rooted = set(), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            used.add(node.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            rooted.add(node.value.id)
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    bound |= {alias.asname or alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
    for name in used & rooted - called - bound - {entry}:
        if name in sys.stdlib_module_names and name not in space:
            space[name] = importlib.import_module(name)
    ours = {name for name in used if hasattr(builtins, name)}
    free = used - bound - ours - set(space) - {entry}
    free -= ABSENT & rooted
    if entry:
        known = {name: value for name, value in library_names().items() if name in free}
        space.update(known)
        return sorted(free - set(known) | {entry})
    known = {name: value for name, value in library_names().items() if name in free & called}
    if free - set(known):
        # isclose(f(1), 2) tests f
        space.update(known)
        free -= set(known)
    elif not free and len(ours & called - bound) == 1:
        return sorted(ours & called - bound)  # the program must define a function of this name
    return sorted(free)
`;
