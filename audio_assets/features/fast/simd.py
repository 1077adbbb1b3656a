"""A vector of numbers as a value inside compiled functions.

LLVM does not find the parallelism of a Fourier transform over many frames by itself; with these types a
kernel states it: one `Vector` holds the same quantity of 8 or 16 consecutive frames. On processors with
narrower registers LLVM splits it.

What belongs here: load, store and arithmetic of vectors. What does not: any signal processing.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import models, overload, register_model

#: Outside compiled functions these names have no callable type.
intrinsic: Any = numba_intrinsic

#: Lets LLVM join a product and a sum where the processor has such an instruction; nothing else is reordered.
FLAGS = ("contract",)

IR_OF = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


class Vector(types.Type):
    """Numba type of `lanes` numbers of type `scalar`."""

    def __init__(self, scalar: Any, lanes: int) -> None:
        self.scalar, self.lanes = scalar, lanes
        self.ir = ir.VectorType(IR_OF[scalar], lanes)
        super().__init__(name=f"Vector({scalar}, {lanes})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """A vector is one LLVM value."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.ir)  # type: ignore[no-untyped-call]


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any, vector: Vector) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(vector.ir))


@intrinsic(prefer_literal=True)
def load(typing_context, array, index, lanes):  # type: ignore[no-untyped-def]
    """Read `lanes` consecutive numbers of a contiguous array, counted from its first, as a vector."""
    vector = Vector(array.dtype, lanes.literal_value)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _place(context, builder, array, arguments[0], arguments[1], vector)
        return builder.load(place, align=array.dtype.bitwidth // 8)

    return vector(array, types.intp, lanes), generate


@intrinsic
def store(typing_context, array, index, value):  # type: ignore[no-untyped-def]
    """Write a vector to consecutive places of a contiguous array."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _place(context, builder, array, arguments[0], arguments[1], value)
        builder.store(arguments[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic(prefer_literal=True)
def spread(typing_context, number, lanes):  # type: ignore[no-untyped-def]
    """Give a vector with the same number in every lane."""
    vector = Vector(number, lanes.literal_value)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        one = builder.insert_element(
            ir.Constant(vector.ir, ir.Undefined), arguments[0], ir.Constant(ir.IntType(32), 0)
        )
        nowhere = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
        return builder.shuffle_vector(one, ir.Constant(vector.ir, ir.Undefined), nowhere)

    return vector(number, lanes), generate


@intrinsic
def convert(typing_context, value, like):  # type: ignore[no-untyped-def]
    """Change a vector's numbers to the type of the number `like`."""
    vector = Vector(like, value.lanes)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        if vector.scalar.bitwidth == value.scalar.bitwidth:
            return arguments[0]
        widen = vector.scalar.bitwidth > value.scalar.bitwidth
        return (builder.fpext if widen else builder.fptrunc)(arguments[0], vector.ir)

    return vector(value, like), generate


@intrinsic
def square_root(typing_context, value):  # type: ignore[no-untyped-def]
    """Give the square root of every lane."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(value.ir, [value.ir])
        name = f"llvm.sqrt.v{value.lanes}f{value.scalar.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, arguments)

    return value(value), generate


@intrinsic
def where_greater(typing_context, a, b):  # type: ignore[no-untyped-def]
    """Give an integer whose bit i says whether lane i of a exceeds lane i of b."""
    bits = ir.IntType(a.lanes)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        mask = builder.bitcast(builder.fcmp_ordered(">", *arguments), bits)
        return builder.zext(mask, ir.IntType(64))

    return types.uint64(a, b), generate


@intrinsic
def lowest_bit(typing_context, bits):  # type: ignore[no-untyped-def]
    """Give the place of the lowest bit set in an integer that is not 0."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.intp(types.uint64), generate


def _interleave(half: int) -> Any:
    @intrinsic
    def weave(typing_context, a, b):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            start = half * a.lanes // 2
            order = [i for k in range(a.lanes // 2) for i in (start + k, start + k + a.lanes)]
            return builder.shuffle_vector(
                *arguments, ir.Constant(ir.VectorType(ir.IntType(32), a.lanes), order)
            )

        return a(a, b), generate

    return weave


#: a0 b0 a1 b1 ... of the lower or of the upper half of two vectors.
weave_low = _interleave(0)
weave_high = _interleave(1)


def _choice(comparison: str) -> Any:
    @intrinsic
    def choose(typing_context, a, b):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.select(builder.fcmp_ordered(comparison, *arguments), *arguments)

        return a(a, b), generate

    return choose


larger = _choice(">")
smaller = _choice("<")


def _arithmetic(instruction: Callable[..., Any]) -> Any:
    @intrinsic
    def apply(typing_context, a, b):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return instruction(builder, *arguments, flags=FLAGS)

        return a(a, b), generate

    return apply


_add, _subtract, _multiply = (
    _arithmetic(i) for i in (ir.IRBuilder.fadd, ir.IRBuilder.fsub, ir.IRBuilder.fmul)
)


def _both_vectors(a: Any, b: Any) -> bool:
    return isinstance(a, Vector) and a == b


@overload(operator.add)
def _vector_add(a, b):  # type: ignore[no-untyped-def]
    return (lambda a, b: _add(a, b)) if _both_vectors(a, b) else None


@overload(operator.sub)
def _vector_sub(a, b):  # type: ignore[no-untyped-def]
    return (lambda a, b: _subtract(a, b)) if _both_vectors(a, b) else None


@overload(operator.mul)
def _vector_mul(a, b):  # type: ignore[no-untyped-def]
    return (lambda a, b: _multiply(a, b)) if _both_vectors(a, b) else None
