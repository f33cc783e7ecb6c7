// The decoder of bus frames, with the input cut into pieces by its first byte. What it accepts must survive another
// round.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lbcluster/base/assert.hpp"
#include "lbcluster/bus/frame.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lbcluster::bus;
    if (size == 0) {
        return 0;
    }
    const std::size_t piece = static_cast<std::size_t>(data[0]) + 1;
    std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
    FrameDecoder decoder;
    while (!input.empty()) {
        decoder.append(input.substr(0, piece));
        input.remove_prefix(std::min(piece, input.size()));
        while (true) {
            const bool ready = decoder.ready();
            const auto frame = decoder.next();
            if (!frame.ok()) {
                return 0;
            }
            LBC_ASSERT(frame.value().has_value() == ready);
            if (!frame.value()) {
                break;
            }
            const auto again = encode_frame(**frame);
            if (again.ok()) {
                FrameDecoder second;
                second.append(again.value());
                LBC_ASSERT(second.next().ok());
            }
        }
        LBC_ASSERT(decoder.buffered_bytes() <= frame_header_bytes + frame_bytes_max + piece);
    }
    return 0;
}
