#pragma once

// What one processor multiplies and adds when nothing but registers is touched: the limit that
// arithmetic is held to. Compiled for every instruction set; follows `kernels::use_simd_target`.

namespace viva::bench {

/// f32 operations per second (a fused multiply-add is two) of this thread, over some 10 ms.
double fma_flops_per_s();

/// The same of bf16's dot products of pairs (four operations); 0 where the processor has none.
double pair_flops_per_s();

/// The same of bf16's products of matrix tiles (AMX); 0 where they are not to be had.
double tile_flops_per_s();

} // namespace viva::bench
