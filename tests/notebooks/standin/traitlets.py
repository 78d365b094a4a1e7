"""As much of traitlets as the notebook uses: typed attributes that tell when they change."""

import copy


class TraitType:
    kind = object
    initial = None

    def __init__(self, default=None):
        self.default = self.initial if default is None else default
        self.metadata = {}

    def tag(self, **metadata):
        self.metadata.update(metadata)
        return self

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, owner, kind):
        return owner._traits.setdefault(self.name, copy.copy(self.default))

    def __set__(self, owner, value):
        if not isinstance(value, self.kind):
            raise TypeError(f"{self.name} expected {self.kind.__name__}, not {value!r}")
        changed = self.__get__(owner, None) != value
        owner._traits[self.name] = value
        if changed:
            owner._trait_changed(self.name)


class Unicode(TraitType):
    kind, initial = str, ""


class Bool(TraitType):
    kind, initial = bool, False


class Dict(TraitType):
    kind, initial = dict, {}


class List(TraitType):
    kind, initial = list, []
