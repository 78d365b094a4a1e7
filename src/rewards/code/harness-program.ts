/** Python code of the interpreter that runs a program: its answers to the interpreter that runs tests. */
export const PROGRAM_SIDE = `
def make_program_side(wire, told, status, exits):
    Writer, Reader, Handles = wire.Writer, wire.Reader, wire.Handles
    ask = wire.asks()
    operators = set("__len__ __iter__ __next__ __getitem__ __setitem__ __delitem__ __contains__ __bool__ __str__ __repr__ __call__ "
                    "__enter__ __exit__ __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __floordiv__ "
                    "__mod__ __pow__ __matmul__ __neg__ __pos__ __abs__ __invert__ __and__ __or__ __xor__ __lshift__ __rshift__ "
                    "__lt__ __le__ __gt__ __ge__ __eq__ __iadd__ __isub__ __imul__ __int__ __float__ __index__ __reversed__".split())
    missing = object()

    class Foreign:
        """An object of the test's."""
        __slots__ = ("_n",)
        def __init__(self, n):
            object.__setattr__(self, "_n", n)
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return side.request({"op": "get", "of": object.__getattribute__(self, "_n"), "name": name})
        def __setattr__(self, name, value):
            side.request({"op": "set", "of": self._n, "name": name}, [value])

    def forwarded(name):
        def method(self, *args, **kwargs):
            return side.request({"op": "special", "of": self._n, "name": name}, args, kwargs)
        return method

    for name in operators - {"__eq__"}:
        setattr(Foreign, name, forwarded(name))

    class Side:
        def __init__(self):
            self.handles, self.foreign, self.told = Handles(), {}, set()

        # sending

        def write(self, v, writer):
            if type(v) is Foreign:
                return {"y": v._n}
            if isinstance(v, type):
                return self.cls(v, writer)
            if isinstance(v, enum.Enum):
                return {"e": [self.cls(type(v), writer), v.name]}
            if isinstance(v, tuple) and hasattr(type(v), "_fields"):
                return {"n": [self.cls(type(v), writer), [writer.put(item) for item in tuple.__iter__(v)]]}
            if v is not writer.forced:
                done, node = writer.plain(v)
                if done:
                    return node
            n, _ = self.handles.of(v)
            if isinstance(v, (types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial)):
                return {"h": n, "k": "f", "name": str(getattr(v, "__name__", "function"))}
            if hasattr(type(v), "__next__"):
                return {"h": n, "k": "i"}
            return {"h": n, "k": "o", "c": self.cls(type(v), writer), "s": self.fields(v, writer)}

        def fields(self, v, writer):
            """What an object holds; null where that is too much."""
            if writer.depth > 3 or writer.left <= 0:
                return None
            found = dict(getattr(v, "__dict__", {}))
            for base in type(v).__mro__:
                slots = base.__dict__.get("__slots__", ())
                for name in (slots,) if isinstance(slots, str) else slots:
                    if hasattr(v, name):
                        found[name] = getattr(v, name)
            writer.left -= 1 + len(found)
            writer.depth += 1
            node = [[str(name), writer.put(value)] for name, value in found.items()]
            writer.depth -= 1
            return node

        def cls(self, v, writer):
            if v in wire.names:
                return {"g": wire.names[v]}
            n, _ = self.handles.of(v)
            node = {"h": n, "k": "c"}
            if n in self.told:
                return node
            self.told.add(n)
            node["name"] = v.__name__
            node["bases"] = [self.cls(base, writer) for base in v.__bases__ if base not in wire.names or base in wire.faults.values()]
            node["ops"] = sorted({name for base in v.__mro__ if base is not object for name in operators if name in base.__dict__})
            if issubclass(v, enum.Enum):
                node["enum"] = [next(name for name in ("IntFlag", "Flag", "IntEnum", "StrEnum", "Enum") if issubclass(v, getattr(enum, name))),
                                [[name, writer.put(member.value)] for name, member in v.__members__.items()]]
            elif issubclass(v, tuple) and hasattr(v, "_fields"):
                node["tuple"] = [list(v._fields), [[name, writer.put(x)] for name, x in v._field_defaults.items()]]
            elif dataclasses.is_dataclass(v):
                node["fields"] = self.dataclass(v, writer)
            return node

        def dataclass(self, v, writer):
            """The fields that a generated constructor sets, with their defaults; null where it does more."""
            code = getattr(v.__init__, "__code__", None)
            if code is None or code.co_filename != "<string>" or hasattr(v, "__post_init__") or v.__new__ is not object.__new__:
                return None
            none = dataclasses.MISSING
            out = []
            for field in dataclasses.fields(v):
                if not field.init or field.kw_only or field.default_factory is not none:
                    return None
                out.append([field.name] if field.default is none else [field.name, writer.put(field.default)])
            return out

        # receiving

        def read(self, key, node, reader):
            x = node[key]
            if key == "y":
                return self.handles.at(x)
            if key == "h":
                if x not in self.foreign:
                    self.foreign[x] = Foreign(x)
                return self.foreign[x]
            if key == "m":
                return importlib.import_module(x)
            if key == "p":
                return functools.reduce(getattr, x[1].split("."), importlib.import_module(x[0]))
            if key == "w":
                cls = self.handles.at(x[0])
                return cls[x[1]] if issubclass(cls, enum.Enum) else tuple.__new__(cls, [reader.get(item) for item in x[1]])
            raise Odd(key)

        def request(self, message, args=(), kwargs={}):
            writer = Writer(self)
            message["a"] = [writer.put(item) for item in args]
            message["k"] = [[name, writer.put(item)] for name, item in kwargs.items()]
            reply = ask(message)
            if "v" in reply:
                return Reader(self).get(reply["v"])
            if reply["x"] == "exit":
                raise exits(1)
            raise wire.faults[reply["x"]](reply["text"])

        # requests

        def serve(self, message):
            reader = Reader(self)
            try:
                args = [reader.get(item) for item in message.get("a", ())]
                kwargs = {name: reader.get(item) for name, item in message.get("k", ())}
                before = [(item, item.copy()) for item in reader.containers]
                writer = Writer(self, reader.containers)
                value = self.perform(message, args, kwargs, writer)
                self.flush()
                changed = [[i, writer.content(item)] for i, (item, copy) in enumerate(before) if not wire.same_content(item, copy)]
                return {"v": value, "ch": changed}
            except (SystemExit, exits) as error:
                return {"exit": status(error)}
            except BaseException as error:
                self.flush()
                return {"error": self.error(error)}

        def flush(self):
            try:
                sys.stdout.flush()
            except Exception:
                pass

        def perform(self, message, args, kwargs, writer):
            op = message["op"]
            of = self.handles.at(message["of"]) if "of" in message else None
            name = message.get("name")
            if op == "call":
                value = of(*args, **kwargs)
                writer.forced = value if isinstance(of, type) and type(value) is of else None
                return writer.put(value)
            if op == "get":
                return writer.put(getattr(of, name))
            if op == "set":
                return setattr(of, name, args[0])
            if op == "special":
                return writer.put(next(of) if name == "__next__" else getattr(type(of), name)(of, *args, **kwargs))
            if op == "fields":
                return self.fields(of, writer)
            if op == "imports":
                return self.imports(message["lines"])
            if op == "names":
                found = [self.space.get(one, missing) for one in message["names"]]
                return [[one, writer.put(value)] for one, value in zip(message["names"], found) if value is not missing]
            raise Odd(op)

        def imports(self, lines):
            """What a test imports for itself and for programs that forgot to."""
            for line in lines:
                names = {}
                try:
                    exec(line, names)
                except Exception:
                    continue
                for name, value in names.items():
                    if name not in self.space and not name.startswith("__") and not hasattr(builtins, name):
                        self.space[name] = value

        def error(self, error):
            kinds = type(error).__mro__
            writer = Writer(self)
            node = {"x": next(kind.__name__ for kind in kinds if kind in wire.names), "c": None, "a": [], "w": [], "told": told(error, "test")}
            try:
                if kinds[0] not in wire.names:
                    node["c"] = self.cls(kinds[0], writer)
                node["a"] = [writer.put(item) for item in error.args]
                node["w"] = [[str(name), writer.put(value)] for name, value in vars(error).items()]
            except BaseException:
                pass
            return node

    side = Side()
    return side
`;
