// HA-1 (heartbeat): what the codec accepts and what it drops. Each drop reason has a test that provokes it.
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "heartbeat/wire/codec.hpp"

namespace lbcluster::heartbeat {
namespace {

using Bytes = std::vector<std::uint8_t>;

const std::string cluster_a = "00112233445566778899aabbccddeeff";
const std::string cluster_b = "10112233445566778899aabbccddeeff";
const std::string key_1 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const std::string key_2 = "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const std::string key_3 = "f10102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

KeyRing ring(const std::string& cluster, const std::vector<std::string>& keys) {
    std::string text = "cluster: " + cluster + "\n";
    for (const std::string& key : keys) text += "key: " + key + "\n";
    auto parsed = KeyRing::parse(text, "test");
    EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().message);
    return *parsed;
}

Codec codec(const std::string& name, const std::vector<std::string>& keys = {key_1}) {
    return {name, ring(cluster_a, keys)};
}

Heartbeat message(const Codec& from) {
    Heartbeat m;
    from.stamp(m);
    m.set_receiver("lb2");
    m.set_boot_id(0x1234567890abcdef);
    m.set_sequence(77);
    m.set_peer_boot_id(0xfedcba0987654321);
    m.set_ack_sequence(76);
    m.set_ack_age_us(5000);
    m.set_activity(ACTIVITY_ACTIVE);
    m.mutable_claim()->set_term(12);
    m.mutable_claim()->set_node("lb1");
    m.mutable_fitness()->set_carrier(true);
    for (int i = 0; i < 10; ++i) m.add_macs("\x02\x00\x00\x00\x00\x01", 6);
    m.set_held_digest(99);
    m.set_config_digest(100);
    m.set_deadtime_us(1'000'000);
    return m;
}

Bytes encode(Codec& from, const Heartbeat& m) {
    Bytes out(datagram_bytes_max);
    const auto size = from.encode(m, out);
    EXPECT_TRUE(size) << (size ? "" : size.error().message);
    out.resize(size ? *size : 0);
    return out;
}

Bytes seal(Codec& from, std::string_view payload) {
    Bytes out(datagram_bytes_max);
    const auto size = from.seal({reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()}, out);
    EXPECT_TRUE(size);
    out.resize(size ? *size : 0);
    return out;
}

std::string_view drop_of(Codec& to, const Bytes& datagram) {
    Heartbeat out;
    return drop_name(to.decode(datagram, out).drop);
}

TEST(HA1Codec, RoundTrip) {
    Codec lb1 = codec("lb1");
    Codec lb2 = codec("lb2");
    const Heartbeat sent = message(lb1);
    const Bytes datagram = encode(lb1, sent);
    EXPECT_GT(datagram.size(), 200U);
    Heartbeat received;
    for (int i = 0; i < 3; ++i) {  // first derives the key, then the kept one
        const DecodeResult result = lb2.decode(datagram, received);
        EXPECT_TRUE(result.ok()) << drop_name(result.drop);
        EXPECT_FALSE(result.newer);
        EXPECT_EQ(received.SerializeAsString(), sent.SerializeAsString());
    }
}

// The format as written in codec.hpp, put together by other means than the codec's.
TEST(HA1Codec, WireFormat) {
    Codec lb1 = codec("lb1");
    const Heartbeat sent = message(lb1);
    const Bytes datagram = encode(lb1, sent);
    const std::string payload = sent.SerializeAsString();
    const KeyRing keys = ring(cluster_a, {key_1});

    // HKDF by its definition: extract, then one round of expand.
    const auto hmac = [](std::span<const std::uint8_t> key, const std::string& data) {
        std::string out(32, '\0');
        HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const std::uint8_t*>(data.data()),
             data.size(), reinterpret_cast<std::uint8_t*>(out.data()), nullptr);
        return out;
    };
    const auto span_of = [](const std::string& s) {
        return std::span<const std::uint8_t>(reinterpret_cast<const std::uint8_t*>(s.data()), s.size());
    };
    const auto secret = keys.secret(0);
    const std::string extracted = hmac(keys.cluster_id(), std::string(secret.begin(), secret.end()));
    const std::string key = hmac(span_of(extracted), std::string("lbcluster heartbeat v1 from lb1\x01"));

    std::string expected("LBH\x01");
    expected.append(reinterpret_cast<const char*>(keys.key_id(0).data()), 4);
    expected += "\x03lb1" + payload;
    expected += hmac(span_of(key), expected).substr(0, 16);
    EXPECT_EQ(std::string(datagram.begin(), datagram.end()), expected);
}

TEST(HA1Codec, EverySingleFlippedBitIsRejected) {
    Codec lb1 = codec("lb1");
    Codec lb2 = codec("lb2");
    Bytes datagram = encode(lb1, message(lb1));
    ASSERT_EQ(drop_of(lb2, datagram), "none");
    for (std::size_t bit = 0; bit < datagram.size() * 8; ++bit) {
        datagram[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
        Heartbeat out;
        EXPECT_FALSE(lb2.decode(datagram, out).ok()) << "bit " << bit;
        EXPECT_EQ(out.ByteSizeLong(), 0U);
        datagram[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    }
    EXPECT_EQ(drop_of(lb2, datagram), "none");
}

TEST(HA1Codec, EveryTruncationAndExtensionIsRejected) {
    Codec lb1 = codec("lb1");
    Codec lb2 = codec("lb2");
    const Bytes datagram = encode(lb1, message(lb1));
    for (std::size_t size = 0; size < datagram.size(); ++size) {
        EXPECT_NE(drop_of(lb2, Bytes(datagram.begin(), datagram.begin() + static_cast<std::ptrdiff_t>(size))), "none");
        EXPECT_NE(drop_of(lb2, Bytes(datagram.begin() + static_cast<std::ptrdiff_t>(size), datagram.end())),
                  size == 0 ? "" : "none");
    }
    for (std::size_t more = 1; more < 40; ++more) {
        Bytes longer = datagram;
        longer.resize(datagram.size() + more);
        EXPECT_EQ(drop_of(lb2, longer), "bad-mac");
    }
}

TEST(HA1Codec, NamesTheDropReason) {
    Codec lb1 = codec("lb1");
    Codec lb2 = codec("lb2");
    const Bytes good = encode(lb1, message(lb1));
    const auto with = [&good](std::size_t at, std::uint8_t value) {
        Bytes changed = good;
        changed[at] = value;
        return changed;
    };
    EXPECT_EQ(drop_of(lb2, {}), "too-short");
    EXPECT_EQ(drop_of(lb2, Bytes(25, 'L')), "too-short");
    EXPECT_EQ(drop_of(lb2, Bytes(1201, 'L')), "too-long");
    EXPECT_EQ(drop_of(lb2, with(0, 'X')), "bad-magic");
    EXPECT_EQ(drop_of(lb2, with(3, 2)), "format-version");
    EXPECT_EQ(drop_of(lb2, with(4, good[4] ^ 1)), "unknown-key");
    EXPECT_EQ(drop_of(lb2, with(8, 0)), "bad-name");
    EXPECT_EQ(drop_of(lb2, with(8, 64)), "bad-name");
    EXPECT_EQ(drop_of(lb2, with(8, 255)), "bad-name");
    EXPECT_EQ(drop_of(lb2, with(9, '-')), "bad-name");
    EXPECT_EQ(drop_of(lb2, with(10, 0)), "bad-name");
    EXPECT_EQ(drop_of(lb2, with(11, '2')), "bad-mac");  // says it is lb2: another key
    EXPECT_EQ(drop_of(lb2, with(20, good[20] ^ 1)), "bad-mac");
    EXPECT_EQ(drop_of(lb2, with(good.size() - 1, good.back() ^ 1)), "bad-mac");
    for (std::size_t i = 0; i < drop_count; ++i) EXPECT_FALSE(drop_name(static_cast<Drop>(i)).empty());
}

TEST(HA1Codec, AuthenticButWrong) {
    Codec lb1 = codec("lb1");
    Codec lb2 = codec("lb2");
    EXPECT_EQ(drop_of(lb2, seal(lb1, "\xff\xff\xff")), "bad-protobuf");
    EXPECT_EQ(drop_of(lb2, seal(lb1, "")), "sender-mismatch");
    Heartbeat m = message(lb1);
    m.set_sender("lb9");
    EXPECT_EQ(drop_of(lb2, seal(lb1, m.SerializeAsString())), "sender-mismatch");
    m = message(lb1);
    m.set_version(0);
    m.set_min_version(0);
    EXPECT_EQ(drop_of(lb2, seal(lb1, m.SerializeAsString())), "version");
    m = message(lb1);
    m.set_min_version(m.version() + 1);
    EXPECT_EQ(drop_of(lb2, seal(lb1, m.SerializeAsString())), "version");
    m = message(lb1);
    m.mutable_cluster_id()->back() ^= 1;
    EXPECT_EQ(drop_of(lb2, seal(lb1, m.SerializeAsString())), "cluster");
    m.clear_cluster_id();
    EXPECT_EQ(drop_of(lb2, seal(lb1, m.SerializeAsString())), "cluster");
}

TEST(HA1Codec, ANewerPeerIsAliveAndFlagged) {
    Codec lb1 = codec("lb1");
    Codec lb2 = codec("lb2");
    Heartbeat m = message(lb1);
    m.set_version(9);
    Heartbeat out;
    DecodeResult result = lb2.decode(seal(lb1, m.SerializeAsString()), out);
    EXPECT_TRUE(result.ok());
    EXPECT_FALSE(result.newer);  // newer, but says that we understand it
    m.set_min_version(9);
    // A field that this version does not know: number 1000, varint 1.
    result = lb2.decode(seal(lb1, m.SerializeAsString() + "\xc0\x3e\x01"), out);
    EXPECT_TRUE(result.ok());
    EXPECT_TRUE(result.newer);
    EXPECT_EQ(out.sequence(), 77U);
}

TEST(HA1Codec, ReflectionIsToldFromForgery) {
    Codec lb1 = codec("lb1");
    Codec also_lb1 = codec("lb1");
    const Bytes datagram = encode(lb1, message(lb1));
    EXPECT_EQ(drop_of(lb1, datagram), "own-name");
    EXPECT_EQ(drop_of(also_lb1, datagram), "own-name");
}

TEST(HA1Codec, OtherKeyAndOtherCluster) {
    Codec lb1 = codec("lb1");
    const Bytes datagram = encode(lb1, message(lb1));
    Codec other_key("lb2", ring(cluster_a, {key_2}));
    EXPECT_EQ(drop_of(other_key, datagram), "unknown-key");
    Codec other_cluster("lb2", ring(cluster_b, {key_1}));  // same secret: the cluster id is part of the key
    EXPECT_EQ(drop_of(other_cluster, datagram), "bad-mac");
    // A forger who knows all but the secret, and says the right key id.
    Codec forger("lb1", ring(cluster_a, {key_2}));
    Bytes forged = encode(forger, message(forger));
    std::copy_n(datagram.begin() + 4, 4, forged.begin() + 4);
    Codec lb2 = codec("lb2");
    EXPECT_EQ(drop_of(lb2, forged), "bad-mac");
}

TEST(HA1Codec, KeysChangeWithoutAGap) {
    Codec lb1 = codec("lb1", {key_1});
    Codec lb2 = codec("lb2", {key_1});
    const auto both_hear = [&] {
        Heartbeat out;
        Heartbeat from_2;
        lb2.stamp(from_2);
        return lb2.decode(encode(lb1, message(lb1)), out).ok() && lb1.decode(encode(lb2, from_2), out).ok();
    };
    EXPECT_TRUE(both_hear());
    lb1.set_keys(ring(cluster_a, {key_1, key_2}));
    EXPECT_TRUE(both_hear());
    lb2.set_keys(ring(cluster_a, {key_2, key_1}));
    EXPECT_TRUE(both_hear());
    Heartbeat out;
    EXPECT_EQ(lb2.decode(encode(lb1, message(lb1)), out).key_index, 1);  // the peer still uses the old one
    lb1.set_keys(ring(cluster_a, {key_2}));
    EXPECT_TRUE(both_hear());
    lb2.set_keys(ring(cluster_a, {key_2}));
    EXPECT_TRUE(both_hear());
    lb2.set_keys(ring(cluster_a, {key_3}));
    EXPECT_FALSE(both_hear());
}

TEST(HA1Codec, RefusesWhatDoesNotFit) {
    Codec lb1 = codec("lb1");
    Codec lb2 = codec("lb2");
    Heartbeat m = message(lb1);
    m.mutable_handover()->set_reason(std::string(1200, 'x'));
    Bytes out(4096);
    EXPECT_FALSE(lb1.encode(m, out));
    // As long as it may be, to the byte.
    m.mutable_handover()->set_reason("");
    const std::size_t bytes = encode(lb1, m).size();
    m.mutable_handover()->set_reason(std::string(datagram_bytes_max - bytes, 'x'));
    while (m.ByteSizeLong() + 9 + 3 + 16 > datagram_bytes_max) m.mutable_handover()->mutable_reason()->pop_back();
    EXPECT_EQ(encode(lb1, m).size(), datagram_bytes_max);
    EXPECT_EQ(drop_of(lb2, encode(lb1, m)), "none");
    m.mutable_handover()->mutable_reason()->push_back('x');
    EXPECT_FALSE(lb1.encode(m, out));
    EXPECT_FALSE(lb1.encode(message(lb1), std::span<std::uint8_t>(out).first(100)));
    EXPECT_FALSE(lb1.encode(message(lb1), {}));
    m = message(lb1);
    m.set_sender("lb2");
    EXPECT_FALSE(lb1.encode(m, out));
    m = message(lb1);
    m.clear_cluster_id();
    EXPECT_FALSE(lb1.encode(m, out));
}

TEST(HA1Codec, ManySendersDoNotDisturb) {
    Codec lb2 = codec("lb2");
    Codec lb1 = codec("lb1");
    const Bytes good = encode(lb1, message(lb1));
    for (int i = 0; i < 50; ++i) {
        Codec other = codec("node" + std::to_string(i));
        Heartbeat m;
        other.stamp(m);
        EXPECT_EQ(drop_of(lb2, encode(other, m)), "none");
        EXPECT_EQ(drop_of(lb2, good), "none");
    }
}

// Not a limit, a figure: run with --gtest_also_run_disabled_tests.
TEST(HA1Codec, DISABLED_Speed) {
    Codec lb1 = codec("lb1");
    Codec lb2 = codec("lb2");
    Heartbeat m = message(lb1);
    m.mutable_handover()->set_reason(std::string(40, 'x'));
    Heartbeat received;
    Bytes out(datagram_bytes_max);
    constexpr int rounds = 200'000;
    const auto begin = std::chrono::steady_clock::now();
    std::size_t size = 0;
    for (int i = 0; i < rounds; ++i) {
        m.set_sequence(static_cast<std::uint64_t>(i));
        size = *lb1.encode(m, out);
        ASSERT_TRUE(lb2.decode(std::span<const std::uint8_t>(out).first(size), received).ok());
    }
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    std::printf("encode + decode of %zu bytes: %.2f us\n", size, took.count() / rounds);
    Bytes forged(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size));
    forged[11] = 'z';
    const auto forged_begin = std::chrono::steady_clock::now();
    for (int i = 0; i < rounds / 10; ++i) ASSERT_FALSE(lb2.decode(forged, received).ok());
    const std::chrono::duration<double, std::micro> lost = std::chrono::steady_clock::now() - forged_begin;
    std::printf("refusal of a forged sender: %.2f us\n", lost.count() / (rounds / 10));
}

}  // namespace
}  // namespace lbcluster::heartbeat
