/* The port of a plain machine has nothing to say: fixed.h and float.h are right for it as they are.
 *
 * Another target's port.h, which stands in this place, may define
 *   BR_HAS_LEN          and br_len, br_pos: the types of sizes and positions;
 *   BR_HAS_CP           and BR_CP, BR_CREF, BR_CP_ADD, BR_LD_I8 … BR_LD_F32, BR_CONST: where constants lie;
 *   BR_EXPF …           its own version of a function of the C library.
 * Its primitives.h, which follows unless plain C is asked for, may define
 *   BR_HAS_DOT_I8 …     and br_dot_i8 …: its own, faster version of a function of fixed.h with the same answers,
 * and whatever its own kernels are made of.
 */
