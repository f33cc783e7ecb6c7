#include "sim/node/simulated_tag.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace lbcluster::sim {

namespace {

// Each is invertible: an odd factor, and a shift that keeps the upper half.
std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 32U)) * 0xd6e8feb86659fd93ULL;
    z = (z ^ (z >> 32U)) * 0xd6e8feb86659fd93ULL;
    return z ^ (z >> 32U);
}

void absorb(std::array<std::uint64_t, 2>& state, std::uint64_t word) {
    state[0] = mix(state[0] ^ word);
    state[1] = mix((state[1] + word) ^ 0x9e3779b97f4a7c15ULL);
}

}  // namespace

SimulatedTag::SimulatedTag(std::string own_name, std::string cluster_id, std::uint64_t secret)
    : own_name_(std::move(own_name)), cluster_id_(std::move(cluster_id)), secret_(secret) {
    const std::uint64_t id = mix(secret + 1);
    std::memcpy(key_id_.data(), &id, key_id_.size());
}

SimulatedTag::Bytes SimulatedTag::key_id(std::size_t /*index*/) const { return key_id_; }

SimulatedTag::Bytes SimulatedTag::cluster_id() const {
    return {reinterpret_cast<const std::uint8_t*>(cluster_id_.data()), cluster_id_.size()};
}

std::array<std::uint64_t, 2> SimulatedTag::compute(std::string_view sender, Bytes data) const {
    std::array<std::uint64_t, 2> state{secret_, ~secret_};
    for (const char c : sender) absorb(state, static_cast<unsigned char>(c));
    while (!data.empty()) {
        std::uint64_t word = 0;
        const std::size_t bytes = std::min(sizeof(word), data.size());
        std::memcpy(&word, data.data(), bytes);
        absorb(state, word);
        data = data.subspan(bytes);
    }
    absorb(state, sender.size());
    return state;
}

void SimulatedTag::sign(Bytes data, std::span<std::uint8_t, tag_bytes> tag) {
    const auto state = compute(own_name_, data);
    std::memcpy(tag.data(), state.data(), tag_bytes);
}

bool SimulatedTag::verify(std::string_view sender, std::size_t /*key_index*/, Bytes data, Bytes tag) {
    const auto state = compute(sender, data);
    return std::memcmp(tag.data(), state.data(), tag_bytes) == 0;
}

}  // namespace lbcluster::sim
