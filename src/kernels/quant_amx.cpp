// Products with quantised weights on AMX: 16 rows of x by the 16 columns of a panel at a time, the k
// that shares a scale in one instruction. What is left of the rows goes to AVX512-VNNI, which computes the
// same bits.
//
//   A: 16 rows of x, 32 int8       B: 8 quads of a panel, 16 columns of 4 int8       C = A B: (16, 16) int32
//   (q6_k, which has two scales a group: 16 int8, 4 quads)

#include "kernels/quant_tables.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__) && defined(__AMX_INT8__)

#include "kernels/quant_avx512-inl.h"

namespace kvasir::kernels {
namespace {

constexpr std::size_t kAmxRows = 16;

struct alignas(64) TileConfig {
  explicit TileConfig(QuantType type) {
    row_bytes[1] = static_cast<std::uint16_t>(quads_per_scale(type) * 4);
    num_rows[2] = static_cast<std::uint8_t>(quads_per_scale(type));
  }
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 0, 64};
  std::uint8_t num_rows[16] = {kAmxRows, kAmxRows, 0};
};

struct Amx : Avx512Vnni {
  static constexpr std::size_t kTileRows = kAmxRows;

  template <QuantType kType>
  static void block(const Block& block);
};

constexpr std::size_t kSignedGroupBytes = kQuads * kLineBytes;

// A block of a panel as signed bytes, which need no correction: (group, quad, 64).
template <QuantType kType>
void expand(const std::byte* quants, std::size_t num_groups, std::byte* to) {
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(weight_offset(kType)));
  for (std::size_t g = 0; g < num_groups; ++g, quants += group_bytes(kType), to += kSignedGroupBytes) {
#pragma GCC unroll 16
    for (std::size_t quad = 0; quad < kQuads; ++quad) {
      const __m512i w = unpack_quad<Avx512Vnni, kType>(quants, quad);
      _mm512_store_si512(to + quad * kLineBytes, _mm512_sub_epi8(w, offset));
    }
  }
}

template <QuantType kWeights>
struct TileWeights {
  static constexpr QuantType kType = kWeights;

  template <std::size_t kRows>
  void accumulate(std::size_t g, std::size_t n, const std::byte* x, std::size_t x_stride, const std::byte*,
                  __m512i (&dot)[kRows][1]) const {
    static_assert(kRows == kAmxRows);
    alignas(64) std::int32_t c[kAmxRows][kPanelColumns];
    const std::size_t quad = n * quads_per_scale(kType);
    // Tile registers 0, 1 and 2 are C, A and B; g++'s macros take no names for them.
    _tile_zero(0);
    _tile_loadd(1, x + quad * 4, x_stride);
    _tile_loadd(2, quants + g * kSignedGroupBytes + quad * kLineBytes, kLineBytes);
    _tile_dpbssd(0, 1, 2);
    _tile_stored(0, c, kLineBytes);
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kRows; ++i) dot[i][0] = _mm512_load_si512(c[i]);
  }

  __m512 scales(std::size_t g, std::size_t n, std::size_t) const {
    return load_scales<Avx512Vnni, kType>(scale, g, n, 0);
  }
  __m512 minimums(std::size_t g, std::size_t) const {
    return load_minimums<Avx512Vnni, kType>(scale, g, 0);
  }
  void prefetch(std::size_t g) const {
    prefetch_lines(next + g * group_bytes(kType), group_bytes(kType));
    prefetch_scales<kType>(scale, g);
  }

  const std::byte* quants;  // signed
  const std::byte* scale;
  const std::byte* next;  // the weights after this block, as they lie in the panel
};

template <QuantType kType>
void Amx::block(const Block& block) {
  const std::size_t amx_rows = block.num_rows / kAmxRows * kAmxRows;
  if (amx_rows > 0) {
    for (std::size_t p = 0; p < block.num_panels; ++p) {
      const std::byte* quants = block.quants<kType>() + p * block.panel_stride;
      expand<kType>(quants, block.num_groups, block.expanded);
      const TileWeights<kType> w = {block.expanded, block.scales<kType>() + p * block.panel_stride,
                                    quants + block.ahead};
      for (std::size_t row = 0; row < amx_rows; row += kAmxRows) {
        add_tile<Amx, kAmxRows, 1>(block, row, w, block.sums + p * kPanelColumns);
      }
    }
  }
  if (amx_rows == block.num_rows) return;
  Block rest = block;
  rest.x.data += amx_rows * block.x.stride;
  rest.num_rows -= amx_rows;
  rest.sums += amx_rows * block.sums_stride();
  Avx512Vnni::block<kType>(rest);
}

void amx_gemm(const QuantGemmArgs& args) {
  const TileConfig config(args.w_type);
  _tile_loadconfig(&config);
  gemm<Amx>(args);
  _tile_release();
}

constexpr QuantKernels kKernels = {quantize_rows, amx_gemm, pack_panel};

}  // namespace

const QuantKernels* amx_quant_kernels() {
  return &kKernels;
}

}  // namespace kvasir::kernels

#else

namespace kvasir::kernels {
const QuantKernels* amx_quant_kernels() {
  return nullptr;
}
}  // namespace kvasir::kernels

#endif
