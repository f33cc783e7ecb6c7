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

constexpr std::size_t tag_bytes = Authenticator::tag_bytes;
constexpr std::size_t name_bytes_max = 63;
// One peer, its keys during a change, and a renamed peer.
constexpr std::size_t known_max = 8;

}  // namespace

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

void Codec::sign(Bytes data, std::span<std::uint8_t, tag_bytes> tag) {
    Tag full;
    compute(sending_.get(), data, full);
    std::copy_n(full.begin(), tag_bytes, tag.begin());
}

void Codec::stamp(Heartbeat& message) const { heartbeat::stamp(message, own_name_, *this); }

Result<std::size_t> Codec::seal(std::span<const std::uint8_t> payload, std::span<std::uint8_t> out) {
    return heartbeat::seal(payload, own_name_, *this, out);
}

Result<std::size_t> Codec::encode(const Heartbeat& message, std::span<std::uint8_t> out) {
    return heartbeat::encode(message, own_name_, *this, out);
}

DecodeResult Codec::decode(std::span<const std::uint8_t> datagram, Heartbeat& out) {
    return heartbeat::decode(datagram, own_name_, *this, out);
}

}  // namespace lbcluster::heartbeat
