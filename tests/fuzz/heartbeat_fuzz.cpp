// HA-1: datagrams from anybody. The first byte chooses:
//   even: the rest is a datagram as it came from the network; without the secret none may be accepted
//   odd:  the rest is sealed by the peer's own codec, so that it reaches protobuf and the checks behind the MAC
#include <google/protobuf/stubs/logging.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "heartbeat/wire/codec.hpp"

namespace {

using namespace lbcluster;
using namespace lbcluster::heartbeat;

struct Pair {
    Pair()
        : keys(*KeyRing::parse("cluster: 00112233445566778899aabbccddeeff\n"
                               "key: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
                               "fuzz")),
          lb1("lb1", keys),
          lb2("lb2", keys) {
        google::protobuf::SetLogHandler(nullptr);  // a line for each string that is not UTF-8
    }
    KeyRing keys;
    Codec lb1;
    Codec lb2;
    Heartbeat received;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Pair pair;
    if (size == 0) return 0;
    const std::span<const std::uint8_t> input(data + 1, size - 1);
    if (data[0] % 2 == 0) {
        LBC_ASSERT(!pair.lb2.decode(input, pair.received).ok());
        return 0;
    }
    std::array<std::uint8_t, datagram_bytes_max> datagram;
    const auto sealed = pair.lb1.seal(input, datagram);
    if (!sealed) return 0;
    const auto bytes = std::span<const std::uint8_t>(datagram).first(*sealed);
    const DecodeResult result = pair.lb2.decode(bytes, pair.received);
    LBC_ASSERT(result.drop != Drop::bad_mac && result.drop != Drop::unknown_key && result.drop != Drop::bad_name);
    if (!result.ok()) return 0;
    LBC_ASSERT(pair.received.sender() == "lb1");
    // What was accepted can be said again (re-encoding may only be longer where unknown fields came in pieces).
    std::array<std::uint8_t, datagram_bytes_max> again;
    const auto encoded = pair.lb1.encode(pair.received, again);
    if (encoded) {
        Heartbeat copy;
        LBC_ASSERT(pair.lb2.decode(std::span<const std::uint8_t>(again).first(*encoded), copy).ok());
        LBC_ASSERT(copy.sequence() == pair.received.sequence());
    }
    return 0;
}
