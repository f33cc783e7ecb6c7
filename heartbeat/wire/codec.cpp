#include "heartbeat/wire/codec.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace lbcluster::heartbeat {

namespace {

constexpr std::array<std::uint8_t, 4> magic_and_format{'L', 'B', 'H', 1};
constexpr std::size_t key_id_at = 4;
constexpr std::size_t name_length_at = 8;
constexpr std::size_t name_at = 9;
constexpr std::size_t name_bytes_max = 63;
constexpr std::size_t tag_bytes = 16;
constexpr std::size_t datagram_bytes_min = name_at + 1 + tag_bytes;
// One peer, its keys during a change, and a renamed peer.
constexpr std::size_t known_max = 8;

constexpr std::array<std::string_view, drop_count> drop_names{
    "none",    "too-short",    "too-long",        "bad-magic", "format-version", "unknown-key", "bad-name",
    "bad-mac", "bad-protobuf", "sender-mismatch", "own-name",  "version",        "cluster"};

bool is_alphanumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

}  // namespace

std::string_view drop_name(Drop drop) { return drop_names.at(static_cast<std::size_t>(drop)); }

bool is_node_name(std::string_view name) {
    if (name.empty() || name.size() > name_bytes_max || !is_alphanumeric(name.front())) return false;
    return std::all_of(name.begin(), name.end(),
                       [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

void Codec::MacFree::operator()(EVP_MAC* mac) const { EVP_MAC_free(mac); }
void Codec::MacFree::operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }

Codec::Codec(std::string own_name, KeyRing keys)
    : own_name_(std::move(own_name)), keys_(std::move(keys)), hmac_(EVP_MAC_fetch(nullptr, "HMAC", nullptr)) {
    LBC_ASSERT(is_node_name(own_name_));
    LBC_ASSERT(hmac_ != nullptr);
    known_.reserve(known_max);
    prepare();
}

Codec::Codec(Codec&&) noexcept = default;
Codec& Codec::operator=(Codec&&) noexcept = default;
Codec::~Codec() = default;

void Codec::set_keys(KeyRing keys) {
    keys_ = std::move(keys);
    prepare();
}

Codec::MacContext Codec::keyed(std::span<const std::uint8_t> key) const {
    MacContext context(EVP_MAC_CTX_new(hmac_.get()));
    // OSSL_PARAM wants a pointer to non-const, but only reads it here.
    const std::array<OSSL_PARAM, 2> digest{
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, const_cast<char*>("SHA256"), 0),
        OSSL_PARAM_construct_end()};
    LBC_ASSERT(context != nullptr && EVP_MAC_init(context.get(), key.data(), key.size(), digest.data()) == 1);
    return context;
}

void Codec::prepare() {
    known_.clear();
    extracted_.clear();
    for (std::size_t i = 0; i < keys_.size(); ++i) {
        Tag pseudo_random_key;
        compute(keyed(keys_.cluster_id()).get(), keys_.secret(i), pseudo_random_key);
        extracted_.push_back(keyed(pseudo_random_key));
        OPENSSL_cleanse(pseudo_random_key.data(), pseudo_random_key.size());
    }
    sending_ = derive(own_name_, 0);
}

Codec::MacContext Codec::derive(std::string_view sender, std::size_t key_index) {
    // RFC 5869, section 2.3: T(1) = HMAC(PRK, "" | info | 1), and 32 bytes need no T(2).
    constexpr std::string_view label = "lbcluster heartbeat v1 from ";
    std::array<std::uint8_t, label.size() + name_bytes_max + 1> info;
    LBC_ASSERT(sender.size() <= name_bytes_max);
    auto* at = std::copy(label.begin(), label.end(), info.begin());
    at = std::copy(sender.begin(), sender.end(), at);
    *at++ = 1;
    Tag key;
    compute(extracted_.at(key_index).get(), {info.begin(), at}, key);
    MacContext context = keyed(key);
    OPENSSL_cleanse(key.data(), key.size());
    return context;
}

void Codec::compute(EVP_MAC_CTX* context, std::span<const std::uint8_t> data, Tag& tag) {
    std::size_t written = 0;
    // Without a key: starts anew with the one it has.
    LBC_ASSERT(EVP_MAC_init(context, nullptr, 0, nullptr) == 1);
    LBC_ASSERT(EVP_MAC_update(context, data.data(), data.size()) == 1);
    LBC_ASSERT(EVP_MAC_final(context, tag.data(), &written, tag.size()) == 1 && written == tag.size());
}

bool Codec::verify(std::string_view sender, std::size_t key_index, std::span<const std::uint8_t> data,
                   std::span<const std::uint8_t> tag) {
    Tag expected;
    ++uses_;
    for (Derived& derived : known_) {
        if (derived.key_index != key_index || derived.sender != sender) continue;
        compute(derived.context.get(), data, expected);
        if (CRYPTO_memcmp(expected.data(), tag.data(), tag_bytes) != 0) return false;
        derived.used = uses_;
        return true;
    }
    MacContext context = derive(sender, key_index);
    compute(context.get(), data, expected);
    if (CRYPTO_memcmp(expected.data(), tag.data(), tag_bytes) != 0) return false;
    Derived fresh{std::string(sender), key_index, std::move(context), uses_};
    if (known_.size() < known_max) {
        known_.push_back(std::move(fresh));
    } else {
        *std::min_element(known_.begin(), known_.end(),
                          [](const Derived& a, const Derived& b) { return a.used < b.used; }) = std::move(fresh);
    }
    return true;
}

void Codec::stamp(Heartbeat& message) const {
    message.set_version(protocol_version);
    message.set_min_version(protocol_version);
    message.set_cluster_id(keys_.cluster_id().data(), keys_.cluster_id().size());
    message.set_sender(own_name_);
}

Result<std::size_t> Codec::finish(std::size_t payload_bytes, std::span<std::uint8_t> out) {
    std::copy(magic_and_format.begin(), magic_and_format.end(), out.begin());
    const KeyId& key_id = keys_.key_id(0);
    std::copy(key_id.begin(), key_id.end(), out.begin() + key_id_at);
    out[name_length_at] = static_cast<std::uint8_t>(own_name_.size());
    std::copy(own_name_.begin(), own_name_.end(), out.begin() + name_at);
    const std::size_t signed_bytes = name_at + own_name_.size() + payload_bytes;
    Tag tag;
    compute(sending_.get(), out.first(signed_bytes), tag);
    std::copy_n(tag.begin(), tag_bytes, out.subspan(signed_bytes).begin());
    return signed_bytes + tag_bytes;
}

Result<std::size_t> Codec::seal(std::span<const std::uint8_t> payload, std::span<std::uint8_t> out) {
    const std::size_t overhead = name_at + own_name_.size() + tag_bytes;
    const std::size_t room = std::min(out.size(), datagram_bytes_max);
    if (room < overhead || payload.size() > room - overhead) {
        return Error{"heartbeat of " + std::to_string(overhead + payload.size()) + " bytes is longer than " +
                         std::to_string(room),
                     "", 0};
    }
    if (!payload.empty()) std::memmove(out.data() + name_at + own_name_.size(), payload.data(), payload.size());
    return finish(payload.size(), out);
}

Result<std::size_t> Codec::encode(const Heartbeat& message, std::span<std::uint8_t> out) {
    const auto cluster = keys_.cluster_id();
    if (message.sender() != own_name_ || message.cluster_id().size() != cluster.size() ||
        !std::equal(cluster.begin(), cluster.end(),
                    reinterpret_cast<const std::uint8_t*>(message.cluster_id().data()))) {
        return Error{"heartbeat does not name this node and cluster", "", 0};
    }
    const std::size_t overhead = name_at + own_name_.size() + tag_bytes;
    const std::size_t payload_bytes = message.ByteSizeLong();
    const std::size_t room = std::min(out.size(), datagram_bytes_max);
    if (room < overhead || payload_bytes > room - overhead) {
        return Error{"heartbeat of " + std::to_string(overhead + payload_bytes) + " bytes is longer than " +
                         std::to_string(room),
                     "", 0};
    }
    message.SerializeWithCachedSizesToArray(out.data() + name_at + own_name_.size());
    return finish(payload_bytes, out);
}

DecodeResult Codec::decode(std::span<const std::uint8_t> datagram, Heartbeat& out) {
    if (datagram.size() < datagram_bytes_min) return {Drop::too_short};
    if (datagram.size() > datagram_bytes_max) return {Drop::too_long};
    if (!std::equal(magic_and_format.begin(), magic_and_format.end() - 1, datagram.begin())) return {Drop::bad_magic};
    if (datagram[3] != magic_and_format[3]) return {Drop::format_version};

    const auto key_id = datagram.subspan(key_id_at, std::tuple_size_v<KeyId>);
    const auto is_named = [&](std::size_t i) {
        return std::equal(key_id.begin(), key_id.end(), keys_.key_id(i).begin());
    };
    std::size_t key_index = 0;
    while (key_index < keys_.size() && !is_named(key_index)) ++key_index;
    if (key_index == keys_.size()) return {Drop::unknown_key};

    const std::size_t name_bytes = datagram[name_length_at];
    if (name_bytes > name_bytes_max || name_at + name_bytes + tag_bytes > datagram.size()) return {Drop::bad_name};
    const std::string_view sender(reinterpret_cast<const char*>(datagram.data()) + name_at, name_bytes);
    if (!is_node_name(sender)) return {Drop::bad_name};

    const auto data = datagram.first(datagram.size() - tag_bytes);
    // Two secrets with one key id (1 in 2^32) are told apart by trying.
    while (key_index < keys_.size() &&
           (!is_named(key_index) || !verify(sender, key_index, data, datagram.last(tag_bytes)))) {
        ++key_index;
    }
    if (key_index == keys_.size()) return {Drop::bad_mac};

    const auto payload = data.subspan(name_at + name_bytes);
    const auto refuse = [&out](Drop drop) {
        out.Clear();
        return DecodeResult{drop};
    };
    if (!out.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return refuse(Drop::bad_protobuf);
    if (out.sender() != sender) return refuse(Drop::sender_mismatch);
    if (sender == own_name_) return {Drop::own_name};
    if (out.version() == 0 || out.min_version() > out.version()) return refuse(Drop::version);
    const auto cluster = keys_.cluster_id();
    if (out.cluster_id().size() != cluster.size() ||
        std::memcmp(out.cluster_id().data(), cluster.data(), cluster.size()) != 0) {
        return refuse(Drop::cluster);
    }
    return {Drop::none, out.min_version() > protocol_version, static_cast<std::uint8_t>(key_index)};
}

}  // namespace lbcluster::heartbeat
