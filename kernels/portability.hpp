#pragma once

// VIVA_HD marks the block functions that the CUDA path shares with the reference: one truth, two
// compilers. On the host it means nothing.

#if defined(__CUDACC__)
#define VIVA_HD __host__ __device__
#else
#define VIVA_HD
#endif
