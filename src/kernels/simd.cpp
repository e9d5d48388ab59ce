// The kernels in Highway, compiled once per instruction set with fused multiply-add. All else that is
// included here is plain declarations and constants: a template of the standard library compiled for AVX-512
// might be the copy that the linker keeps for everyone.

// Sets without a table of ours: those above AVX3 (lower bits), those without FMA, and vectors of unknown
// length.
#define HWY_DISABLED_TARGETS \
  ((HWY_AVX3 - 1) | HWY_SSE4 | HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd.cpp"
#include <hwy/foreach_target.h>
// foreach_target must come first.
#include <hwy/highway.h>

#include "kernels/exp_constants.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_ARCH_ARM_A64

HWY_BEFORE_NAMESPACE();
namespace kvasir::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr std::size_t kLanes = 16;
using Tag = hn::CappedTag<float, kLanes>;
using Vector = hn::Vec<Tag>;
using Quad = hn::FixedTag<float, 4>;
constexpr Tag kTag;
constexpr std::size_t kWidth = HWY_TARGET == HWY_AVX3 ? 16
                               : HWY_TARGET == HWY_AVX2
                                   ? 8
                                   : 4;  // floats in a register; the 16 lanes take 16 / kWidth of them

// Stored elements, and how they are loaded as floats.
struct F32 {
  using Element = float;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const float* from) {
    return hn::LoadU(d, from);
  }
};
struct F16 {
  using Element = hwy::float16_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const hwy::float16_t* from) {
    return hn::PromoteTo(d, hn::LoadU(hn::Rebind<hwy::float16_t, D>(), from));
  }
};
struct Bf16 {
  using Element = std::uint16_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const std::uint16_t* from) {
    const hn::RebindToUnsigned<D> bits;
    const auto half = hn::LoadU(hn::Rebind<std::uint16_t, D>(), from);
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(bits, half)));
  }
};

// ---- gemm
// ----------------------------------------------------------------------------------------------------

// Register tile: 24 accumulators of 32 registers, or 12 of AVX2's 16. A row of four columns is one store.
constexpr std::size_t kTileRows = HWY_TARGET == HWY_AVX2 ? 3 : 6;
constexpr std::size_t kTileColumns = 4;
// A single row has registers for more columns; longer groups are read from memory faster.
constexpr std::size_t kSingleRowColumns = HWY_TARGET == HWY_AVX3 ? 8 : kTileColumns;
// Cache blocks: rows of x, rows of w, and the part of k that both are cut to. The w of a register tile (8 KB)
// stays in L1 while x streams from L2.
constexpr std::size_t kBlockRows = 48;
constexpr std::size_t kBlockColumns = 48;
constexpr std::size_t kBlockK = 512;
// Rows of a block are copied with a gap, so that they do not fall into the same sets of the cache.
constexpr std::size_t kBlockStride = kBlockK + kLanes;
// From this number of rows on, w is copied (and widened) once per block instead of being read by each
// register tile.
constexpr std::size_t kMinBlockedRows = 12;

static_assert(kBlockRows % kTileRows == 0 && kBlockColumns % kTileColumns == 0);
static_assert(kBlockRows * kBlockColumns * kLanes + (kBlockRows + kBlockColumns) * kBlockStride <=
              kGemmScratchFloats);

// Asks for `num_bytes` from `from` in the second-level cache: the first has room for this group of columns
// only, and its few outstanding misses are what the loads of this group wait for.
HWY_INLINE void prefetch_bytes(const std::byte* from, std::size_t num_bytes) {
  constexpr std::size_t kCacheLine = 64;
  for (std::size_t i = 0; i < num_bytes; i += kCacheLine) __builtin_prefetch(from + i, 0, 2);
}

// partial[row][column][lane] += the products of x and w for k in [0, num_k), num_k a multiple of 16.
// Meanwhile as many bytes from `ahead` on (may be null) are fetched as are read from w: a core left to itself
// starts anew at each row, and reads memory at half its speed.
template <std::size_t kRows, std::size_t kColumns, class Weight>
HWY_INLINE void accumulate(const float* x, std::size_t x_stride, const typename Weight::Element* w,
                           std::size_t w_stride, std::size_t num_k, float* partial,
                           const std::byte* ahead = nullptr) {
  // A single row has registers to spare for all 16 lanes, and reads w once; others go over k once per
  // register width.
  constexpr std::size_t kParts = kRows == 1 ? kLanes / kWidth : 1;
  for (std::size_t lane = 0; lane < kLanes; lane += kWidth * kParts) {
    Vector sum[kRows][kColumns][kParts];
    HWY_UNROLL(16)
    for (std::size_t i = 0; i < kRows; ++i) {
      HWY_UNROLL(16)
      for (std::size_t j = 0; j < kColumns; ++j) {
        HWY_UNROLL(16)
        for (std::size_t p = 0; p < kParts; ++p) {
          sum[i][j][p] = hn::LoadU(kTag, partial + (i * kColumns + j) * kLanes + lane + p * kWidth);
        }
      }
    }
    for (std::size_t k = lane; k < num_k; k += kLanes) {
      if (ahead != nullptr) {
        constexpr std::size_t kElementBytes = kColumns * sizeof(typename Weight::Element);
        prefetch_bytes(ahead + (k - lane) * kElementBytes, kLanes * kElementBytes);
      }
      HWY_UNROLL(16)
      for (std::size_t p = 0; p < kParts; ++p) {
        Vector w_k[kColumns];
        HWY_UNROLL(16)
        for (std::size_t j = 0; j < kColumns; ++j)
          w_k[j] = Weight::load(kTag, w + j * w_stride + k + p * kWidth);
        HWY_UNROLL(16)
        for (std::size_t i = 0; i < kRows; ++i) {
          const Vector x_k = hn::LoadU(kTag, x + i * x_stride + k + p * kWidth);
          HWY_UNROLL(16)
          for (std::size_t j = 0; j < kColumns; ++j) sum[i][j][p] = hn::MulAdd(x_k, w_k[j], sum[i][j][p]);
        }
      }
    }
    HWY_UNROLL(16)
    for (std::size_t i = 0; i < kRows; ++i) {
      HWY_UNROLL(16)
      for (std::size_t j = 0; j < kColumns; ++j) {
        HWY_UNROLL(16)
        for (std::size_t p = 0; p < kParts; ++p) {
          hn::StoreU(sum[i][j][p], kTag, partial + (i * kColumns + j) * kLanes + lane + p * kWidth);
        }
      }
    }
  }
}

// The four sums i, i + 4, i + 8, i + 12 of 16 lanes: the first two levels of the tree.
HWY_INLINE hn::Vec<Quad> sum_to_four(const float* lanes) {
  const Quad d;
  return hn::Add(hn::Add(hn::LoadU(d, lanes), hn::LoadU(d, lanes + 8)),
                 hn::Add(hn::LoadU(d, lanes + 4), hn::LoadU(d, lanes + 12)));
}

HWY_INLINE float sum_lanes(const float* lanes) {
  HWY_ALIGN float four[4];
  hn::Store(sum_to_four(lanes), Quad(), four);
  return (four[0] + four[2]) + (four[1] + four[3]);
}

// y[row][column] = the sum of partial[row][column] + bias.
template <std::size_t kRows, std::size_t kColumns>
HWY_INLINE void store_sums(const float* partial, const float* bias, float* y, std::size_t y_stride) {
  for (std::size_t i = 0; i < kRows; ++i) {
    const float* row = partial + i * kColumns * kLanes;
    float* out = y + i * y_stride;
    if constexpr (kColumns == 2 * kTileColumns) {
      store_sums<1, kTileColumns>(row, bias, out, y_stride);
      store_sums<1, kTileColumns>(row + kTileColumns * kLanes,
                                  bias == nullptr ? nullptr : bias + kTileColumns, out + kTileColumns,
                                  y_stride);
    } else if constexpr (kColumns == kTileColumns) {
      // The last two levels for four columns at once, after a transposition.
      const Quad d;
      const auto a = sum_to_four(row), b = sum_to_four(row + kLanes);
      const auto c = sum_to_four(row + 2 * kLanes), e = sum_to_four(row + 3 * kLanes);
      const auto ac_low = hn::InterleaveLower(d, a, c), ac_high = hn::InterleaveUpper(d, a, c);
      const auto be_low = hn::InterleaveLower(d, b, e), be_high = hn::InterleaveUpper(d, b, e);
      const auto lane0 = hn::InterleaveLower(d, ac_low, be_low),
                 lane1 = hn::InterleaveUpper(d, ac_low, be_low);
      const auto lane2 = hn::InterleaveLower(d, ac_high, be_high),
                 lane3 = hn::InterleaveUpper(d, ac_high, be_high);
      auto sum = hn::Add(hn::Add(lane0, lane2), hn::Add(lane1, lane3));
      if (bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, bias));
      hn::StoreU(sum, d, out);
    } else {
      for (std::size_t j = 0; j < kColumns; ++j) {
        const float sum = sum_lanes(row + j * kLanes);
        out[j] = bias == nullptr ? sum : sum + bias[j];
      }
    }
  }
}

// Copies `rows` rows of k elements as floats to rows of kBlockStride, filled with zeros to a multiple of 16.
template <class Weight>
void copy_rows(const typename Weight::Element* from, std::size_t stride, std::size_t rows, std::size_t k,
               float* to) {
  const hn::CappedTag<float, 1> one;
  const std::size_t padded_k = (k + kLanes - 1) / kLanes * kLanes;
  for (std::size_t row = 0; row < rows; ++row, from += stride, to += kBlockStride) {
    std::size_t i = 0;
    for (; i + kWidth <= k; i += kWidth) hn::StoreU(Weight::load(kTag, from + i), kTag, to + i);
    for (; i < k; ++i) hn::StoreU(Weight::load(one, from + i), one, to + i);
    for (; i < padded_k; ++i) to[i] = 0;
  }
}

template <std::size_t kRows, std::size_t kColumns>
void block_tile(const float* x, const float* w, std::size_t padded_k, float* partial) {
  accumulate<kRows, kColumns, F32>(x, kBlockStride, w, kBlockStride, padded_k, partial);
}
template <std::size_t kRows, std::size_t kColumns, class Weight>
void streamed_tile(const GemmArgs& args, std::size_t row, std::size_t column) {
  HWY_ALIGN float partial[kRows * kColumns * kLanes] = {};
  const float* x = args.x + row * args.x_stride;
  const auto* w = static_cast<const typename Weight::Element*>(args.w) + column * args.k;
  const std::size_t whole_k = args.k / kLanes * kLanes;
  const bool is_last = column + 2 * kColumns > args.n;
  const auto* ahead = reinterpret_cast<const std::byte*>(is_last ? w : w + kColumns * args.k);
  accumulate<kRows, kColumns, Weight>(x, args.x_stride, w, args.k, whole_k, partial, ahead);
  if (whole_k < args.k) {
    float* x_tail = args.scratch;
    float* w_tail = args.scratch + kRows * kBlockStride;
    copy_rows<F32>(x + whole_k, args.x_stride, kRows, args.k - whole_k, x_tail);
    copy_rows<Weight>(w + whole_k, args.k, kColumns, args.k - whole_k, w_tail);
    block_tile<kRows, kColumns>(x_tail, w_tail, kLanes, partial);
  }
  store_sums<kRows, kColumns>(partial, args.bias == nullptr ? nullptr : args.bias + column,
                              args.y + row * args.y_stride + column, args.y_stride);
}

// Rows of w come from memory once, few rows of x from L1.
template <class Weight>
void gemm_streamed(const GemmArgs& args) {
  const auto tile_rows = [](std::size_t rows_left) { return rows_left < kTileRows ? rows_left : kTileRows; };
  std::size_t column = 0;
  if (args.m == 1) {
    for (; column + kSingleRowColumns <= args.n; column += kSingleRowColumns) {
      streamed_tile<1, kSingleRowColumns, Weight>(args, 0, column);
    }
  }
  while (column < args.n) {
    const bool four = args.n - column >= kTileColumns;
    for (std::size_t row = 0; row < args.m; row += kTileRows) {
      switch (tile_rows(args.m - row) * 2 + (four ? 1 : 0)) {
        case 3:
          streamed_tile<1, 4, Weight>(args, row, column);
          break;
        case 5:
          streamed_tile<2, 4, Weight>(args, row, column);
          break;
        case 7:
          streamed_tile<3, 4, Weight>(args, row, column);
          break;
        case 2:
          streamed_tile<1, 1, Weight>(args, row, column);
          break;
        case 4:
          streamed_tile<2, 1, Weight>(args, row, column);
          break;
        case 6:
          streamed_tile<3, 1, Weight>(args, row, column);
          break;
#if HWY_TARGET != HWY_AVX2
        case 9:
          streamed_tile<4, 4, Weight>(args, row, column);
          break;
        case 11:
          streamed_tile<5, 4, Weight>(args, row, column);
          break;
        case 13:
          streamed_tile<6, 4, Weight>(args, row, column);
          break;
        case 8:
          streamed_tile<4, 1, Weight>(args, row, column);
          break;
        case 10:
          streamed_tile<5, 1, Weight>(args, row, column);
          break;
        case 12:
          streamed_tile<6, 1, Weight>(args, row, column);
          break;
#endif
      }
    }
    column += four ? kTileColumns : 1;
  }
}

using BlockTile = void (*)(const float* x, const float* w, std::size_t padded_k, float* partial);
using StoreSums = void (*)(const float* partial, const float* bias, float* y, std::size_t y_stride);
struct TileFunctions {
  BlockTile block_tile;
  StoreSums store_sums;
};
// [rows - 1]: for four columns, and for one.
constexpr TileFunctions kTiles4[] = {
    {block_tile<1, 4>, store_sums<1, 4>}, {block_tile<2, 4>, store_sums<2, 4>},
    {block_tile<3, 4>, store_sums<3, 4>},
#if HWY_TARGET != HWY_AVX2
    {block_tile<4, 4>, store_sums<4, 4>}, {block_tile<5, 4>, store_sums<5, 4>},
    {block_tile<6, 4>, store_sums<6, 4>},
#endif
};
constexpr TileFunctions kTiles1[] = {
    {block_tile<1, 1>, store_sums<1, 1>}, {block_tile<2, 1>, store_sums<2, 1>},
    {block_tile<3, 1>, store_sums<3, 1>},
#if HWY_TARGET != HWY_AVX2
    {block_tile<4, 1>, store_sums<4, 1>}, {block_tile<5, 1>, store_sums<5, 1>},
    {block_tile<6, 1>, store_sums<6, 1>},
#endif
};

// One block of y; the 16 lanes of each sum wait in `partial` between two parts of k.
template <class Weight>
void gemm_block(const GemmArgs& args, std::size_t row, std::size_t rows, std::size_t column,
                std::size_t columns) {
  float* partial = args.scratch;
  float* x_block = partial + kBlockRows * kBlockColumns * kLanes;
  float* w_block = x_block + kBlockRows * kBlockStride;
  for (std::size_t i = 0; i < rows * columns * kLanes; ++i) partial[i] = 0;

  const auto* w = static_cast<const typename Weight::Element*>(args.w) + column * args.k;
  const float* x = args.x + row * args.x_stride;
  for (std::size_t k = 0; k < args.k; k += kBlockK) {
    const std::size_t num_k = args.k - k < kBlockK ? args.k - k : kBlockK;
    const std::size_t padded_k = (num_k + kLanes - 1) / kLanes * kLanes;
    const bool last = k + num_k == args.k;
    copy_rows<F32>(x + k, args.x_stride, rows, num_k, x_block);
    copy_rows<Weight>(w + k, args.k, columns, num_k, w_block);
    float* tile = partial;
    for (std::size_t j = 0; j < columns;) {
      const bool four = columns - j >= kTileColumns;
      const std::size_t tile_columns = four ? kTileColumns : 1;
      for (std::size_t i = 0; i < rows; i += kTileRows) {
        const std::size_t tile_rows = rows - i < kTileRows ? rows - i : kTileRows;
        const TileFunctions& tiles = (four ? kTiles4 : kTiles1)[tile_rows - 1];
        tiles.block_tile(x_block + i * kBlockStride, w_block + j * kBlockStride, padded_k, tile);
        if (last) {
          tiles.store_sums(tile, args.bias == nullptr ? nullptr : args.bias + column + j,
                           args.y + (row + i) * args.y_stride + column + j, args.y_stride);
        }
        tile += tile_rows * tile_columns * kLanes;
      }
      j += tile_columns;
    }
  }
}

template <class Weight>
void gemm_of(const GemmArgs& args) {
  if (args.m < kMinBlockedRows || args.k == 0) return gemm_streamed<Weight>(args);
  for (std::size_t column = 0; column < args.n; column += kBlockColumns) {
    const std::size_t columns = args.n - column < kBlockColumns ? args.n - column : kBlockColumns;
    for (std::size_t row = 0; row < args.m; row += kBlockRows) {
      const std::size_t rows = args.m - row < kBlockRows ? args.m - row : kBlockRows;
      gemm_block<Weight>(args, row, rows, column, columns);
    }
  }
}

void gemm(const GemmArgs& args) {
  switch (args.w_type) {
    case WeightType::kF32:
      return gemm_of<F32>(args);
    case WeightType::kF16:
      return gemm_of<F16>(args);
    case WeightType::kBf16:
      return gemm_of<Bf16>(args);
  }
}

// ---- exponential
// -----------------------------------------------------------------------------------------------

template <class D, class V = hn::Vec<D>>
HWY_INLINE V exponential(D d, V x) {
  const hn::RebindToUnsigned<D> bits;
  const auto underflows = hn::Lt(x, hn::Set(d, kExpMin));
  const auto overflows = hn::Gt(x, hn::Set(d, kExpMax));
  const V t = hn::MulAdd(x, hn::Set(d, kLog2E), hn::Set(d, kExpRound));
  const V n = hn::Sub(t, hn::Set(d, kExpRound));
  const V r = hn::MulAdd(n, hn::Set(d, -kLn2Low), hn::MulAdd(n, hn::Set(d, -kLn2High), x));
  V p = hn::Set(d, kExpPolynomial[0]);
  for (std::size_t i = 1; i < sizeof(kExpPolynomial) / sizeof(float); ++i) {
    p = hn::MulAdd(p, r, hn::Set(d, kExpPolynomial[i]));
  }
  const auto power = hn::ShiftLeft<23>(hn::Add(hn::BitCast(bits, t), hn::Set(bits, 127u)));
  const V within = hn::IfThenZeroElse(underflows, hn::Mul(p, hn::BitCast(d, power)));
  return hn::IfThenElse(overflows, hn::Set(d, __builtin_inff()), within);
}

template <class D>
HWY_INLINE void silu_mul_at(D d, const float* gate, const float* up, float* out) {
  const auto g = hn::LoadU(d, gate);
  const auto one = hn::Set(d, 1.0f);
  const auto sigmoid_inverse = hn::Add(one, exponential(d, hn::Neg(g)));
  hn::StoreU(hn::Mul(hn::Div(g, sigmoid_inverse), hn::LoadU(d, up)), d, out);
}

void silu_mul(const float* gate, const float* up, float* out, std::size_t count) {
  std::size_t i = 0;
  for (; i + kWidth <= count; i += kWidth) silu_mul_at(kTag, gate + i, up + i, out + i);
  for (; i < count; ++i) silu_mul_at(hn::CappedTag<float, 1>(), gate + i, up + i, out + i);
}

// ---- attention
// ---------------------------------------------------------------------------------------------------

// The running softmax of one query row: the largest score so far, and the sum of exp(score - max).
struct Softmax {
  float max;
  float sum;
};

// out[row][d .. d + lanes) = out * rescale + the values of the first num_keys keys by weight.
template <int kRows, class Kv, class D>
HWY_INLINE void add_values(D d, const typename Kv::Element* v, int head_dim, int num_keys, float* const* out,
                           const float* rescale, const float (*p)[kLanes], int at) {
  hn::Vec<D> sum[kRows];
  HWY_UNROLL(16)
  for (int row = 0; row < kRows; ++row) {
    sum[row] = hn::Mul(hn::LoadU(d, out[row] + at), hn::Set(d, rescale[row]));
  }
  for (int j = 0; j < num_keys; ++j) {
    const auto v_j = Kv::load(d, v + j * head_dim + at);
    HWY_UNROLL(16)
    for (int row = 0; row < kRows; ++row) sum[row] = hn::MulAdd(hn::Set(d, p[row][j]), v_j, sum[row]);
  }
  HWY_UNROLL(16)
  for (int row = 0; row < kRows; ++row) hn::StoreU(sum[row], d, out[row] + at);
}

// Takes the first num_keys keys of one tile into kRows rows.
template <int kRows, class Kv>
void attend_tile(const AttentionArgs& args, int tile, int num_keys, const float* const* q, float* const* out,
                 Softmax* softmax) {
  using Element = typename Kv::Element;
  const std::byte* block = args.blocks[tile / args.tiles_per_block];
  const std::size_t offset = static_cast<std::size_t>(tile % args.tiles_per_block) * args.tile_bytes;
  const Element* k = reinterpret_cast<const Element*>(block + args.k_offset + offset);
  const Element* v = reinterpret_cast<const Element*>(block + args.v_offset + offset);

  HWY_ALIGN float p[kRows][kLanes];
  for (std::size_t lane = 0; lane < kLanes; lane += kWidth) {
    Vector score[kRows];
    HWY_UNROLL(16)
    for (int row = 0; row < kRows; ++row) score[row] = hn::Zero(kTag);
    for (int d = 0; d < args.head_dim; ++d) {
      const Vector k_d = Kv::load(kTag, k + static_cast<std::size_t>(d) * kLanes + lane);
      HWY_UNROLL(16)
      for (int row = 0; row < kRows; ++row)
        score[row] = hn::MulAdd(hn::Set(kTag, q[row][d]), k_d, score[row]);
    }
    HWY_UNROLL(16)
    for (int row = 0; row < kRows; ++row) {
      hn::Store(hn::Mul(score[row], hn::Set(kTag, args.scale)), kTag, p[row] + lane);
    }
  }

  float rescale[kRows];
  for (int row = 0; row < kRows; ++row) {
    // Keys after the query may be anything; as -inf they get weight 0, and their values are not read.
    for (int j = num_keys; j < static_cast<int>(kLanes); ++j) p[row][j] = -__builtin_inff();
    Vector largest = hn::Load(kTag, p[row]);
    for (std::size_t lane = kWidth; lane < kLanes; lane += kWidth) {
      largest = hn::Max(largest, hn::Load(kTag, p[row] + lane));
    }
    const float tile_max = hn::GetLane(hn::MaxOfLanes(kTag, largest));
    const float max = tile_max > softmax[row].max ? tile_max : softmax[row].max;
    for (std::size_t lane = 0; lane < kLanes; lane += kWidth) {
      const Vector score = hn::Load(kTag, p[row] + lane);
      hn::Store(exponential(kTag, hn::Sub(score, hn::Set(kTag, max))), kTag, p[row] + lane);
    }
    rescale[row] = hn::GetLane(exponential(Quad(), hn::Set(Quad(), softmax[row].max - max)));
    softmax[row].sum = __builtin_fmaf(softmax[row].sum, rescale[row], sum_lanes(p[row]));
    softmax[row].max = max;
  }

  int d = 0;
  for (; d + static_cast<int>(kWidth) <= args.head_dim; d += static_cast<int>(kWidth)) {
    add_values<kRows, Kv>(kTag, v, args.head_dim, num_keys, out, rescale, p, d);
  }
  for (; d + 4 <= args.head_dim; d += 4)
    add_values<kRows, Kv>(Quad(), v, args.head_dim, num_keys, out, rescale, p, d);
  for (; d < args.head_dim; ++d) {
    add_values<kRows, Kv>(hn::CappedTag<float, 1>(), v, args.head_dim, num_keys, out, rescale, p, d);
  }
}

template <int kRows, class Kv>
void attend(const AttentionArgs& args) {
  Softmax softmax[kRows];
  int num_full_tiles = args.position[0] / kTileTokens + 1;
  for (int row = 0; row < kRows; ++row) {
    softmax[row] = {-__builtin_inff(), 0};
    for (int d = 0; d < args.head_dim; ++d) args.out[row][d] = 0;
    const int full = (args.position[row] + 1) / kTileTokens;
    num_full_tiles = full < num_full_tiles ? full : num_full_tiles;
  }
  for (int tile = 0; tile < num_full_tiles; ++tile) {
    attend_tile<kRows, Kv>(args, tile, kTileTokens, args.q, args.out, softmax);
  }
  // What is left differs between the rows: each goes on alone.
  for (int row = 0; row < kRows; ++row) {
    for (int tile = num_full_tiles; tile * kTileTokens <= args.position[row]; ++tile) {
      const int keys = args.position[row] + 1 - tile * kTileTokens;
      attend_tile<1, Kv>(args, tile, keys < kTileTokens ? keys : kTileTokens, args.q + row, args.out + row,
                         softmax + row);
    }
    for (int d = 0; d < args.head_dim; ++d) args.out[row][d] /= softmax[row].sum;
  }
}

template <class Kv>
void attention_of(const AttentionArgs& args) {
  switch (args.num_rows) {
    case 1:
      return attend<1, Kv>(args);
    case 2:
      return attend<2, Kv>(args);
    case 3:
      return attend<3, Kv>(args);
    case 4:
      return attend<4, Kv>(args);
    case 5:
      return attend<5, Kv>(args);
    case 6:
      return attend<6, Kv>(args);
    case 7:
      return attend<7, Kv>(args);
    case 8:
      return attend<8, Kv>(args);
  }
}

void attention(const AttentionArgs& args) {
  return args.kv_type == KvType::kF32 ? attention_of<F32>(args) : attention_of<F16>(args);
}

constexpr const char* kIsa = HWY_TARGET == HWY_AVX3 ? "avx512" : HWY_TARGET == HWY_AVX2 ? "avx2" : "neon";
constexpr KernelTable kTable = {kIsa, gemm, attention, silu_mul};

}  // namespace
const KernelTable* table() {
  return &kTable;
}
}  // namespace kvasir::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // targets with FMA

#if HWY_ONCE
namespace kvasir::kernels {
namespace {

struct Available {
  const KernelTable* tables[2] = {};
  std::size_t count = 0;
};

Available find_available() {
  Available available;
  [[maybe_unused]] const auto supported = hwy::SupportedTargets();
#if HWY_ARCH_X86 && (HWY_TARGETS & HWY_AVX3)
  if (supported & HWY_AVX3) available.tables[available.count++] = N_AVX3::table();
#endif
#if HWY_ARCH_X86 && (HWY_TARGETS & HWY_AVX2)
  if (supported & HWY_AVX2) available.tables[available.count++] = N_AVX2::table();
#endif
#if HWY_ARCH_ARM_A64
  available.tables[available.count++] = HWY_STATIC_DISPATCH(table)();
#endif
  return available;
}

}  // namespace

std::span<const KernelTable* const> float_kernels() {
  static const Available available = find_available();
  return {available.tables, available.count};
}

}  // namespace kvasir::kernels
#endif  // HWY_ONCE
