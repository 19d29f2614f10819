"""Vectors as numbers: as many cores side by side as a register of 64 bytes holds, in functions written as if for one.

    x = view(numbers)               # (rows, columns, width(dtype)) contiguous numbers as a (rows, columns) of vectors
    x[i, j] = c * x[i, j] - s * y   # one multiplication, one fused multiply-add

A loop over lanes would say the same, but Numba leaves loops to LLVM's vectoriser, which takes long, keeps nothing in
registers from one loop to the next and halves the registers of some processors; vector instructions are what is
compiled in the end. Processors with narrower registers get several instructions for one.

Vectors take + - * / and comparisons with vectors and numbers (which become numbers of their kind); comparisons give
masks, for `where`, & and |.
"""

from __future__ import annotations

import operator

from numba import types
from numba.core import cgutils
from numba.core.cgutils import ir
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

BYTES = 64
FUSED = ("contract",)


class Vector(types.Type):
    """A register of numbers."""

    def __init__(self, number):
        self.number, self.width = number, BYTES * 8 // number.bitwidth
        super().__init__(f"vector({number})")


class Mask(types.Type):
    """What a comparison of vectors gives."""

    def __init__(self, width):
        self.width = width
        super().__init__(f"mask({width})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """A vector of LLVM."""

    def __init__(self, manager, own):
        number = ir.FloatType() if own.number == types.float32 else ir.DoubleType()
        super().__init__(manager, own, ir.VectorType(number, own.width))


@register_model(Mask)
class MaskModel(models.PrimitiveModel):
    """A vector of bits."""

    def __init__(self, manager, own):
        super().__init__(manager, own, ir.VectorType(ir.IntType(1), own.width))


def width(dtype):
    """Numbers of a dtype in a vector."""
    return BYTES // dtype.itemsize


def spread(context, builder, value, kind, vector):
    """LLVM's vector of a vector or of a number in every lane."""
    if isinstance(kind, Vector):
        return value
    whole = context.get_value_type(vector)
    one = builder.insert_element(ir.Constant(whole, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), vector.width), None))


def kinds(args):
    """(the vector type among `args`, the types they are cast to), or None if they are no vectors and numbers."""
    vectors = [kind for kind in args if isinstance(kind, Vector)]
    if not vectors or not all(isinstance(kind, (Vector, types.Number)) for kind in args):
        return None
    return vectors[0], [kind if isinstance(kind, Vector) else vectors[0].number for kind in args]


def teach(op, lower, comparison=False):
    """Make Numba know an operator on vectors, and on a vector and a number."""

    @infer_global(op)
    class Known(AbstractTemplate):
        def generic(self, args, kws):
            if pattern := kinds(args):
                vector, cast = pattern
                return signature(Mask(vector.width) if comparison else vector, *cast)
            return None

    def code(context, builder, sig, args):
        vector = next(kind for kind in sig.args if isinstance(kind, Vector))
        return lower(builder, *(spread(context, builder, a, kind, vector) for a, kind in zip(args, sig.args)))

    for two in ((Vector, Vector), (Vector, types.Float), (types.Float, Vector)):
        lower_builtin(op, *two)(code)


for _op in (operator.add, operator.iadd):
    teach(_op, lambda builder, a, b: builder.fadd(a, b, flags=FUSED))
for _op in (operator.sub, operator.isub):
    teach(_op, lambda builder, a, b: builder.fsub(a, b, flags=FUSED))
teach(operator.mul, lambda builder, a, b: builder.fmul(a, b, flags=FUSED))
teach(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))
for _op, _sign in (
    (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "=="),
):  # fmt: skip
    teach(_op, lambda builder, a, b, sign=_sign: builder.fcmp_ordered(sign, a, b), comparison=True)


@intrinsic
def product(typing, a, b):
    """a b rounded by itself, also where something is added to it: for what must equal another's to the last bit."""
    pattern = kinds((a, b))
    if pattern is None:
        return None
    vector, cast = pattern

    def code(context, builder, sig, args):
        return builder.fmul(*(spread(context, builder, x, kind, vector) for x, kind in zip(args, sig.args)))

    return vector(*cast), code


@infer_global(operator.neg)
class Negated(AbstractTemplate):
    """-x of a vector."""

    def generic(self, args, kws):
        return signature(args[0], args[0]) if isinstance(args[0], Vector) else None


@lower_builtin(operator.neg, Vector)
def _negated(context, builder, sig, args):
    return builder.fneg(args[0])


class Both(AbstractTemplate):
    """& and | of masks."""

    def generic(self, args, kws):
        return signature(args[0], *args) if all(isinstance(kind, Mask) for kind in args) else None


infer_global(operator.and_)(type("And", (Both,), {}))
infer_global(operator.or_)(type("Or", (Both,), {}))
lower_builtin(operator.and_, Mask, Mask)(lambda context, builder, sig, args: builder.and_(*args))
lower_builtin(operator.or_, Mask, Mask)(lambda context, builder, sig, args: builder.or_(*args))


@intrinsic
def where(typing, mask, a, b):
    """`a` where the mask is set, else `b`."""
    pattern = kinds((a, b))
    if not isinstance(mask, Mask) or pattern is None:
        return None
    vector, cast = pattern

    def code(context, builder, sig, args):
        return builder.select(
            args[0], *(spread(context, builder, value, kind, vector) for value, kind in zip(args[1:], sig.args[1:]))
        )

    return vector(mask, *cast), code


def function(name):
    """A function of vectors that LLVM knows by name."""

    @intrinsic
    def known(typing, x):
        if not isinstance(x, Vector):
            return None

        def code(context, builder, sig, args):
            kind = args[0].type
            full = f"llvm.{name}.v{kind.count}{kind.element.intrinsic_name}"
            called = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), full)
            return builder.call(called, args)

        return x(x), code

    return known


rint, floor, root = function("rint"), function("floor"), function("sqrt")


@intrinsic
def view(typing, numbers):
    """A contiguous array (..., width) of numbers as one (...) of vectors, of the same memory."""
    vector = Vector(numbers.dtype)
    kind = types.Array(vector, numbers.ndim - 1, "C")

    def code(context, builder, sig, args):
        old = context.make_array(sig.args[0])(context, builder, args[0])
        new = context.make_array(kind)(context, builder)
        shape = cgutils.unpack_tuple(builder, old.shape)[:-1]
        strides = cgutils.unpack_tuple(builder, old.strides)[:-1]
        data = builder.bitcast(old.data, context.get_data_type(vector).as_pointer())
        context.populate_array(
            new, data=data, shape=shape, strides=strides, itemsize=context.get_constant(types.intp, BYTES),
            meminfo=old.meminfo, parent=None,
        )  # fmt: skip
        if context.enable_nrt:
            context.nrt.incref(builder, kind, new._getvalue())
        return new._getvalue()

    return kind(numbers), code


@intrinsic
def corner(typing, x, i, j):
    """The contiguous (rows, columns) of vectors from [i, j] on, with the pitch of the whole: only to be indexed, for
    its columns go on with the next row. It owns no memory."""

    def code(context, builder, sig, args):
        old = context.make_array(x)(context, builder, args[0])
        new = context.make_array(x)(context, builder)
        shape, strides = cgutils.unpack_tuple(builder, old.shape), cgutils.unpack_tuple(builder, old.strides)
        at = builder.add(builder.mul(args[1], shape[1]), args[2])
        context.populate_array(
            new, data=builder.gep(old.data, [at]), shape=shape, strides=strides, itemsize=old.itemsize, meminfo=None,
            parent=None,
        )  # fmt: skip
        return new._getvalue()

    return x(x, types.intp, types.intp), code


@intrinsic
def turn_block(typing, source, i, j, to, a, b):
    """The transpose of a square block of numbers, as wide as a vector, from `source`[i, j] on, to `to`[a, b] on; both
    (rows, columns), with rows that are contiguous. Some four instructions a row, where numbers one by one take as many
    each."""
    vector = Vector(source.dtype)

    def code(context, builder, sig, args):
        kind, lanes = context.get_data_type(vector), ir.VectorType(ir.IntType(32), vector.width)

        def rows(position, row, column):
            array = context.make_array(sig.args[position])(context, builder, args[position])
            pitch = cgutils.unpack_tuple(builder, array.strides)[0]
            first = builder.gep(array.data, [column])
            for n in range(vector.width):
                at = builder.mul(builder.add(row, row.type(n)), pitch)
                yield cgutils.pointer_add(builder, first, at, kind.as_pointer())

        each = [builder.load(place, align=source.dtype.bitwidth // 8) for place in rows(0, args[1], args[2])]
        apart = vector.width // 2
        while apart:
            for n in (n for n in range(vector.width) if not n & apart):
                low, high = each[n], each[n + apart]
                for shift in (0, apart):
                    picked = [
                        l + shift if not l & apart else l + shift - apart + vector.width for l in range(vector.width)
                    ]
                    each[n + shift] = builder.shuffle_vector(low, high, ir.Constant(lanes, picked))
            apart //= 2
        for row, place in zip(each, rows(3, args[4], args[5])):
            builder.store(row, place, align=source.dtype.bitwidth // 8)
        return context.get_dummy_value()

    index = types.intp
    return types.void(source, index, index, to, index, index), code


@intrinsic
def full(typing, like, number):
    """`number` in every lane of a vector of the kind of `like`."""
    if not isinstance(like, Vector):
        return None

    def code(context, builder, sig, args):
        return spread(context, builder, args[1], sig.args[1], like)

    return like(like, like.number), code


@intrinsic
def size(typing, x):
    """How many lanes a vector has."""
    return types.intp(x), lambda context, builder, sig, args: context.get_constant(types.intp, x.width)


@intrinsic
def get(typing, x, lane):
    """The number in a lane."""
    return x.number(x, types.intp), lambda context, builder, sig, args: builder.extract_element(*args)


@intrinsic
def put(typing, x, lane, number):
    """The vector with another number in a lane."""

    def code(context, builder, sig, args):
        return builder.insert_element(args[0], args[2], args[1])

    return x(x, types.intp, x.number), code


@intrinsic
def total(typing, x):
    """The sum of the lanes, by halves: always in the same order."""

    def code(context, builder, sig, args):
        rest, count = args[0], x.width
        while count > 1:
            count //= 2
            lanes = ir.VectorType(ir.IntType(32), count)
            low, high = (ir.Constant(lanes, list(range(at, at + count))) for at in (0, count))
            rest = builder.fadd(builder.shuffle_vector(rest, rest, low), builder.shuffle_vector(rest, rest, high))
        return builder.extract_element(rest, ir.IntType(32)(0))

    return x.number(x), code
