/** Python that runs a test: which names it takes from the program, and how many of its assertions it came to. */
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
            # assert False is where a test should not come
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
        space.update(side.request({"op": "names", "names": names_of(tree, job["entry"], space)}))
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
    if entry:
        return sorted(free | {entry})
    known = {name for name in free & called if hasattr(math, name)}
    if free - known:
        # isclose(f(1), 2) is the library's
        space.update({name: getattr(math, name) for name in known})
        free -= known
    elif not free and len(ours & called - bound) == 1:
        return sorted(ours & called - bound)  # the program is to write a function of its own by this name
    return sorted(free)
`;
