// What the code of device_attention-inl.hpp wants of a device: shuffles, products of tensor cores,
// shared memory, and the launch.

#include "kernels/cuda_attention.hpp"

#include "kernels/device_attention-inl.hpp"
#include "kernels/team.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace viva::kernels::attention {

namespace {

constexpr unsigned grid_max = 65535; // of its second and third dimension

class device_warp {
public:
  template <class T>
  using own = thread_own<T>;

  template <class Body>
  __device__ void each(const Body& body) const {
    body(threadIdx.x % 32);
  }
  __device__ void sync() const {
    __syncwarp();
  }
  /// of(lane) of four neighbours, joined.
  template <class Of, class Join>
  __device__ auto quads(const Of& of, const Join& join) const {
    auto part = of(threadIdx.x % 32);
    part = join(part, exchanged(~0u, part, 1));
    own<decltype(part)> folded;
    folded[0] = join(part, exchanged(~0u, part, 2));
    return folded;
  }
  template <dtype Type>
  __device__ static std::uint32_t pack(float low, float high) {
    std::uint32_t word;
    if constexpr (Type == dtype::bf16) {
      const auto two = __floats2bfloat162_rn(low, high);
      memcpy(&word, &two, sizeof word);
    } else {
      const auto two = __floats2half2_rn(low, high);
      memcpy(&word, &two, sizeof word);
    }
    return word;
  }
  template <dtype Type, class Of>
  __device__ void mma(const Of& of) const {
    const fragment f = of(threadIdx.x % 32);
    if constexpr (Type == dtype::bf16)
      asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
          "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
          : "+f"(f.c[0]), "+f"(f.c[1]), "+f"(f.c[2]), "+f"(f.c[3])
          : "r"(f.a[0]), "r"(f.a[1]), "r"(f.a[2]), "r"(f.a[3]), "r"(f.b[0]), "r"(f.b[1]));
    else
      asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
          "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
          : "+f"(f.c[0]), "+f"(f.c[1]), "+f"(f.c[2]), "+f"(f.c[3])
          : "r"(f.a[0]), "r"(f.a[1]), "r"(f.a[2]), "r"(f.a[3]), "r"(f.b[0]), "r"(f.b[1]));
  }
};

template <dtype Type, unsigned Head>
__global__ void __launch_bounds__(block_shape<Type, Head>::lanes)
    attention_kernel(const device_problem what) {
  using size = block_shape<Type, Head>;
  extern __shared__ chunk shared[];
  const block_memory<Type, Head> memory(reinterpret_cast<std::byte*>(shared));
  const auto& of = what.of;
  const tile_place queries{blockIdx.z, blockIdx.y, std::size_t{blockIdx.x} * size::rows};
  const unsigned warp_rows = threadIdx.x / 32 * 16;
  stage_rows<Type, Head>(what.in.q, queries, of.head_size, size::rows, of.queries - queries.first,
                         threadIdx.x, memory.q);
  attending_warp<device_warp, Type, Head> rows({}, what, queries, warp_rows);
  const auto seen = keys_of_block<Type, Head>(of, queries.first);
  tile_place keys{queries.sequence, queries.head / (of.heads / of.kv_heads), 0};
  for (auto first = seen.first; first < seen.last; first += static_cast<int>(size::keys)) {
    keys.first = static_cast<std::size_t>(first);
    __syncthreads(); // the tile before is done with
    stage_rows<Type, Head>(what.in.k, keys, of.head_size, size::keys, of.keys - keys.first,
                           threadIdx.x, memory.k);
    stage_rows<Type, Head>(what.in.v, keys, of.head_size, size::keys, of.keys - keys.first,
                           threadIdx.x, memory.v);
    __syncthreads();
    rows.step(memory, warp_rows, first);
  }
  rows.finish();
}

template <dtype Type, unsigned Head>
void launch(device_stream& on, const device_problem& what) {
  using size = block_shape<Type, Head>;
  const auto kernel = attention_kernel<Type, Head>;
  if constexpr (size::bytes > 48 * 1024) // more than a block has unasked
    (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(size::bytes)); // refused: the launch is, too
  const dim3 grid(static_cast<unsigned>((what.of.queries + size::rows - 1) / size::rows),
                  static_cast<unsigned>(what.of.heads), static_cast<unsigned>(what.of.batch));
  kernel<<<grid, size::lanes, size::bytes, static_cast<cudaStream_t>(on.handle())>>>(what);
  on.note_launch();
}

template <dtype Type>
void launch_for(device_stream& on, const device_problem& what) {
  if (what.of.head_size <= 64)
    launch<Type, 64>(on, what);
  else if (what.of.head_size <= 128)
    launch<Type, 128>(on, what);
  else
    launch<Type, 256>(on, what);
}

} // namespace

status queue_attend(device_stream& on, const shape& of, const inputs& in, const outputs& to) {
  if (const auto fits = check(of); !fits)
    return fits;
  const auto type = in.q.type;
  if (in.k.encoded != nullptr || in.v.encoded != nullptr || in.k.type != type || in.v.type != type
      || of.heads > grid_max || of.batch > grid_max)
    return {errc::unsupported};
  if (of.queries * of.heads * of.batch == 0)
    return {};
  const device_problem what{of, in, to,
                            scale_of(of) * 1.4426950408889634f}; // log2(e)
  if (type == dtype::f32)
    launch_for<dtype::f32>(on, what);
  else if (type == dtype::f16)
    launch_for<dtype::f16>(on, what);
  else
    launch_for<dtype::bf16>(on, what);
  return {};
}

} // namespace viva::kernels::attention
