/**
 * Python code of the interpreter that runs tests. It holds stand-ins for a program's objects and decides their equality
 * itself, from the fields that they had when the program returned them.
 */
export const JUDGE_SIDE = `
def make_judge_side(wire):
    Writer, Reader, Handles = wire.Writer, wire.Reader, wire.Handles
    ask = wire.asks()
    plain_methods = {name for kind in (str, bytes, list, tuple, dict, set, frozenset, int, float, complex) for name in dir(kind)}
    leaks = set("__contains__ __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __floordiv__ __mod__ __pow__ "
                "__matmul__ __and__ __or__ __xor__ __lshift__ __rshift__ __lt__ __le__ __gt__ __ge__ __iadd__ __isub__ __imul__".split())
    free = set("__len__ __iter__ __next__ __getitem__ __setitem__ __delitem__ __bool__ __str__ __repr__ __call__ __enter__ __exit__ "
               "__neg__ __pos__ __abs__ __invert__ __int__ __float__ __index__ __reversed__".split())
    served = leaks | free - {"__enter__", "__exit__"}

    class Fatal(BaseException):
        """Ends a test, whatever it catches."""

    class Stand:
        """What is known of an object of the program's."""
        def __init__(self, n, cls, fields, seq):
            self.n, self.cls, self.fields, self.seq = n, cls, fields, seq
            self.args = None      # the test's value behind it
            self.given = False    # the program has received it
            self.later = None     # not created yet: its arguments

    def info(item):
        return object.__getattribute__(item, "_qw")

    class ClassStand(type):
        def __call__(cls, *args, **kwargs):
            if type.__getattribute__(cls, "_of") is None:
                return type.__call__(cls, *args, **kwargs)
            return side.make(cls, args, kwargs)
        def __getattr__(cls, name):
            of = type.__getattribute__(cls, "_of")
            if of is None or name.startswith("__"):
                raise AttributeError(name)
            return side.request({"op": "get", "of": of, "name": name})
        def __setattr__(cls, name, value):
            side.request({"op": "set", "of": cls._of, "name": name}, (value,))

    class ObjectStand(metaclass=ClassStand):
        _of = _ops = _spec = None
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            own = info(self)
            if own.later is not None and name in own.fields:
                return own.fields[name]
            value = side.request({"op": "get", "of": side.number(self), "name": name})
            if type(value) is FunctionStand:
                value.owner, value.name = self, name
            return value
        def __setattr__(self, name, value):
            side.request({"op": "set", "of": side.number(self), "name": name}, (value,))
            side.renew(self)
        def __eq__(self, other):
            return side.equal(self, other)
        def __ne__(self, other):
            return not side.equal(self, other)
        def __hash__(self):
            return hash(type(self).__name__)
        def __bool__(self):
            ops = type(self)._ops
            if "__bool__" in ops:
                return bool(side.special(self, "__bool__"))
            return bool(side.special(self, "__len__")) if "__len__" in ops else True

    def forwarded(name):
        def method(self, *args, **kwargs):
            if name in leaks and info(self).args is None:
                raise TypeError(f"unsupported {name} of a {type(self).__name__}")
            return side.special(self, name, args, kwargs)
        return method

    class FunctionStand:
        def __init__(self, n, name):
            self.n, self.owner, self.name, self.__name__ = n, None, name, name
        def __call__(self, *args, **kwargs):
            value = side.request({"op": "call", "of": self.n}, args, kwargs)
            owner = self.owner
            if owner is not None:
                if type(value) is bool and self.name in plain_methods and info(owner).args is None:
                    raise side.fatal(f"unknown type: a {type(owner).__name__} with a method {self.name}")
                side.renew(owner)
            return value
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return side.request({"op": "get", "of": self.n, "name": name})

    class IteratorStand:
        def __init__(self, n):
            self.n = n
        def __iter__(self):
            return self
        def __next__(self):
            return side.request({"op": "special", "of": self.n, "name": "__next__"})
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return side.request({"op": "get", "of": self.n, "name": name})

    stands = (FunctionStand, IteratorStand)

    class Side:
        def __init__(self):
            self.handles, self.known, self.classes = Handles(), {}, {}
            self.seq, self.failure, self.foreign, self.kept = 0, None, {}, []
            self.fresh = False

        def fatal(self, text, kind="TypeError"):
            if self.failure is None:
                self.failure = {"type": kind, "message": text[:500], "line": None, "memory": False, "assertion": False, "exit": None}
            return Fatal(text)

        # sending

        def number(self, item):
            own = info(item)
            if own.later is not None:
                args, kwargs = own.later
                own.later = None
                made = self.request({"op": "call", "of": type(item)._of}, args, kwargs)
                if not isinstance(made, ObjectStand):
                    raise self.fatal("a class made something else")
                own.n = info(made).n
                self.known[own.n] = item
            return own.n

        def write(self, v, writer):
            if isinstance(type(v), ClassStand):
                n = self.number(v)
                info(v).given = True
                return {"y": n}
            if type(v) in stands:
                return {"y": v.n}
            if isinstance(v, type) and v in self.classes:
                return {"y": self.classes[v]}
            if type(v) in self.classes:
                if isinstance(v, enum.Enum):
                    return {"w": [self.classes[type(v)], v.name]}
                if isinstance(v, tuple):
                    return {"w": [self.classes[type(v)], [writer.put(item) for item in v]]}
            found = self.stdlib(v)
            return {"p": found} if found else {"h": self.handles.of(v)[0]}

        def stdlib(self, v):
            """Where a function of Python's own library is found."""
            module, path = getattr(v, "__module__", None), getattr(v, "__qualname__", None)
            owner = getattr(v, "__objclass__", None)
            module = owner.__module__ if module is None and owner is not None else module
            if type(module) is not str or type(path) is not str or module.partition(".")[0] not in sys.stdlib_module_names:
                return None
            try:
                same = functools.reduce(getattr, path.split("."), sys.modules[module]) is v
            except (AttributeError, KeyError):
                return None
            return [module, path] if same else None

        def request(self, message, args=(), kwargs={}):
            if self.failure:
                raise Fatal()
            writer = Writer(self)
            message["a"] = [writer.put(item) for item in args]
            message["k"] = [[name, writer.put(item)] for name, item in kwargs.items()]
            try:
                told = ask(message)
                reply = json.loads(told["reply"])
                if told["printed"]:
                    sys.stdout.write(told["printed"])
                if self.failure:
                    raise Fatal()
                self.seq += 1
                if "v" in reply:
                    reader = Reader(self, writer.containers)
                    value = reader.get(reply["v"]) if message["op"] not in ("names", "fields") else self.read_rows(reply["v"], reader)
                    for n, node in reply["ch"]:
                        reader.fill(writer.containers[n], node)
                    return value
                if "exit" in reply:
                    self.fatal("", "SystemExit")
                    self.failure["exit"] = reply["exit"] if type(reply["exit"]) is int else 1
                    raise Fatal()
                error = self.read_error(reply["error"])
            except (Fatal, MemoryError):
                raise
            except Exception as odd:
                raise self.fatal(f"it answered what makes no sense: {type(odd).__name__}") from None
            raise error

        # receiving

        def read_rows(self, rows, reader):
            return None if rows is None else {str(name): reader.get(node) for name, node in rows}

        def read(self, key, node, reader):
            x = node[key]
            if key == "y":
                return self.handles.at(x)
            if key == "m":
                if x.partition(".")[0] not in sys.stdlib_module_names:
                    raise Odd(x)
                return importlib.import_module(x)
            if key == "e":
                return self.cls(x[0], reader).__members__[x[1]]
            if key == "n":
                return self.cls(x[0], reader)(*[reader.get(item) for item in x[1]])
            if key != "h" or type(x) is not int:
                raise Odd(key)
            kind = node.get("k")
            if kind == "c":
                return self.cls(node, reader)
            if kind == "f" or kind == "i":
                if x not in self.known:
                    self.known[x] = FunctionStand(x, str(node["name"])) if kind == "f" else IteratorStand(x)
                return self.known[x]
            cls = self.cls(node["c"], reader)
            fields = self.read_rows(node["s"], reader)
            old = self.known.get(x)
            if old is not None and type(old) is cls:
                own = info(old)
                if own.args is None or own.given or not own.args:
                    if fields is not None:
                        own.fields, own.seq = fields, self.seq
                    self.fresh = False
                    return old
            item = self.stand(cls, Stand(x, cls, fields, self.seq))
            self.fresh = old is None
            if old is None:
                self.known[x] = item
            return item

        def stand(self, cls, own):
            item = object.__new__(cls)
            object.__setattr__(item, "_qw", own)
            return item

        def cls(self, node, reader):
            if "g" in node:
                return wire.named[node["g"]]
            n = node["h"]
            if ("c", n) in self.known:
                return self.known["c", n]
            name = str(node["name"])
            bases = tuple(self.cls(base, reader) for base in node["bases"])
            if "enum" in node:
                kind, members = node["enum"]
                if kind not in ("IntFlag", "Flag", "IntEnum", "StrEnum", "Enum") or any(one.startswith("_") for one, _ in members):
                    raise Odd(kind)
                made = getattr(enum, kind)(name, [(str(one), reader.get(value)) for one, value in members])
            elif "tuple" in node:
                names, defaults = node["tuple"]
                made = collections.namedtuple(name, names, defaults=[reader.get(value) for _, value in defaults])
            elif any(issubclass(base, BaseException) for base in bases):
                made = type(name, tuple(base for base in bases if issubclass(base, BaseException)), {})
            else:
                stands = tuple(base for base in bases if isinstance(base, ClassStand)) or (ObjectStand,)
                spec = node.get("fields")
                spec = spec and [(str(one[0]), [reader.get(x) for x in one[1:]]) for one in spec]
                space = {"_of": n, "_ops": frozenset(node["ops"]), "_spec": spec, "__module__": "solution"}
                for op in space["_ops"] & (leaks | free) - {"__bool__"}:
                    space[op] = forwarded(op)
                made = type.__new__(ClassStand, name, stands, space)
            self.known["c", n] = made
            self.classes[made] = n
            return made

        def read_error(self, node):
            told = node["told"]
            reader = Reader(self)
            args = [reader.get(item) for item in node["a"]]
            kind = self.cls(node["c"], reader) if node["c"] else wire.faults[node["x"]]
            if not issubclass(kind, BaseException):
                raise Odd("no exception")
            error = kind.__new__(kind, *args)
            error.args = tuple(args)
            for name, item in node["w"]:
                if not name.startswith("_"):
                    setattr(error, name, reader.get(item))
            self.foreign[id(error)] = told
            self.kept.append(error)
            return error

        # operations on stand-ins

        def make(self, cls, args, kwargs):
            spec = cls._spec
            simple = not any(isinstance(type(x), ClassStand) for x in (*args, *kwargs.values()))
            if spec is not None and simple and len(args) <= len(spec):
                names = [name for name, _ in spec]
                fields = {name: default[0] for name, default in spec if default}
                fields.update(zip(names, args))
                if not set(kwargs) - set(names[len(args):]):
                    fields.update(kwargs)
                    if len(fields) == len(spec):
                        # created on demand: a program must not see what the test expects
                        own = Stand(None, cls, fields, self.seq)
                        own.args, own.later = [], (args, kwargs)
                        return self.stand(cls, own)
            item = self.request({"op": "call", "of": cls._of}, args, kwargs)
            if isinstance(type(item), ClassStand):
                own = info(item)
                own.args = [*args, *kwargs.values()]
                if not self.fresh and own.args:
                    item = self.stand(cls, Stand(own.n, cls, None, self.seq)) # identical to another object: equal to nothing
                    info(item).args = [*args, *kwargs.values()]
            return item

        def special(self, item, name, args=(), kwargs={}):
            value = self.request({"op": "special", "of": self.number(item), "name": name}, args, kwargs)
            if name in leaks and type(value) is type(item) and value is not item:
                info(value).args = []
            if name not in ("__len__", "__bool__", "__str__", "__repr__"):
                self.renew(item)
            return value

        def renew(self, item):
            own = info(item)
            if "__eq__" in type(item)._ops:
                own.fields, own.seq = self.request({"op": "fields", "of": own.n}), self.seq
                own.args = [] if own.args is not None else None

        def equal(self, a, b):
            if not isinstance(type(b), ClassStand):
                return False
            x, y = info(a), info(b)
            if a is b:
                return True
            if type(a) is not type(b) or "__eq__" not in type(a)._ops or x.fields is None or y.fields is None:
                return False
            for one, other in ((x, y), (y, x)):
                if one.args:
                    # a value that the program returned after it saw the expected one proves nothing
                    if other.args is None and other.seq >= one.seq:
                        return False
                    if not all(any(arg is value or (type(arg) is type(value) and arg == value) for value in one.fields.values()) for arg in one.args):
                        return False
            return x.fields == y.fields

        # the program's requests

        def serve(self, message):
            if self.failure:
                return {"x": "exit"}
            try:
                reader = Reader(self)
                of = self.handles.at(message["of"])
                name, op = message.get("name"), message["op"]
                args = [reader.get(item) for item in message["a"]]
                kwargs = {str(key): reader.get(item) for key, item in message["k"]}
                function = isinstance(of, (types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial, type))
                if op == "special" and name in served and (name == "__call__" or not function):
                    value = of(*args, **kwargs) if name == "__call__" else self.operate(of, name, args)
                elif op in ("get", "set") and not function and type(name) is str and not name.startswith("_") and type(of).__module__ == "solution":
                    value = getattr(of, name) if op == "get" else setattr(of, name, args[0])
                else:
                    raise AttributeError(name)
                return {"v": Writer(self).put(value)}
            except Fatal:
                return {"x": "exit"}
            except AssertionError as error:
                self.fatal(str(error), "AssertionError")
                self.failure["assertion"] = True
                return {"x": "exit"}
            except BaseException as error:
                kind = next(kind for kind in type(error).__mro__ if kind in wire.names)
                return {"x": wire.names[kind], "text": str(error)[:500]}

        def operate(self, of, name, args):
            if name == "__next__":
                return next(of)
            if name == "__iter__":
                return iter(of)
            if name == "__bool__":
                return bool(of)
            return getattr(type(of), name)(of, *args)

    side = Side()
    side.Fatal = Fatal
    return side
`;
