// Frames of the peer (RE-2): hostile bytes end the stream with an error; what is a frame may be an offer, pieces and a
// want of anything. Nothing outside files/ is ever named, no more is kept than was announced, and a revision that comes
// out is what its digest says.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "lbcluster/base/assert.hpp"
#include "replicator/frames.hpp"
#include "replicator/parcel.hpp"

using namespace lbcluster::replicator;
namespace config = lbcluster::config;
namespace replica = lbcluster::replica;

namespace {

void check(const std::vector<config::Received>& chain) {
    for (const config::Received& one : chain) {
        LBC_ASSERT(config::digest_of(one.content) == one.revision.digest());
        for (const auto& [name, bytes] : one.content.files) {
            LBC_ASSERT(is_file_name("files/" + name));
            LBC_ASSERT(!name.starts_with("../") && name.find("/../") == std::string::npos);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::size_t piece = data[0] % 64 + 1;  // how the stream comes in
    std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    FrameDecoder decoder;
    std::optional<Assembly> assembly;
    while (!bytes.empty()) {
        decoder.append(bytes.substr(0, piece));
        bytes.remove_prefix(std::min(piece, bytes.size()));
        for (;;) {
            auto frame = decoder.next();
            if (!frame) return 0;
            if (!*frame) break;
            if ((*frame)->has_offer()) {
                auto made = Assembly::make((*frame)->offer(), {{sha256(""), ""}, {sha256("a"), "a"}});
                if (made) assembly.emplace(std::move(*made));
            } else if ((*frame)->has_piece() && assembly) {
                if (!assembly->complete() && !assembly->add((*frame)->piece())) assembly.reset();
            } else if ((*frame)->has_want()) {
                if (auto source = PieceSource::make({{sha256("a"), "a"}}, (*frame)->want())) {
                    for (replica::Piece one; source->next(one);) LBC_ASSERT(one.data().size() <= piece_bytes_max);
                }
            }
            if (assembly && assembly->complete()) {
                if (const auto chain = assembly->finish()) check(*chain);
                assembly.reset();
            }
        }
    }
    return 0;
}
