#include "healthd/talk/scram.hpp"

#include <openssl/evp.h>

#include <charconv>

#include "healthd/talk/parts.hpp"

namespace lbcluster::health {
namespace {

// The value of `NAME=value` at the front of a list, which is shortened by it.
std::string_view take(std::string_view& list, char name) {
    if (list.size() < 2 || list[0] != name || list[1] != '=') return {};
    const auto end = std::min(list.find(','), list.size());
    const std::string_view value = list.substr(2, end - 2);
    list.remove_prefix(std::min(end + 1, list.size()));
    return value;
}

std::string escaped(const std::string& user) {
    std::string out;
    for (const char c : user) {
        if (c == ',') out += "=2C";
        else if (c == '=') out += "=3D";
        else out += c;
    }
    return out;
}

std::string salted(const std::string& password, std::string_view salt, int iterations) {
    std::string out(32, '\0');
    LBC_ASSERT(PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                                 reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()),
                                 iterations, EVP_sha256(), static_cast<int>(out.size()),
                                 reinterpret_cast<unsigned char*>(out.data())) == 1);
    return out;
}

}  // namespace

ScramSha256::ScramSha256(const std::string& user, std::string password, std::string nonce)
    : password_(std::move(password)), nonce_(std::move(nonce)), first_bare_("n=" + escaped(user) + ",r=" + nonce_) {}

Result<std::string> ScramSha256::client_final(std::string_view server_first) {
    constexpr std::size_t salt_bytes_max = 1024;
    std::string_view list = server_first;
    const std::string_view nonce = take(list, 'r');
    const std::string salt = from_base64(take(list, 's'), salt_bytes_max);
    const std::string_view count = take(list, 'i');
    unsigned iterations = 0;
    const auto [stop, error] = std::from_chars(count.data(), count.data() + count.size(), iterations);
    if (salt.empty() || error != std::errc{} || stop != count.data() + count.size() || iterations == 0) {
        return Error{"malformed challenge", "", 0};
    }
    if (nonce.size() <= nonce_.size() || !nonce.starts_with(nonce_)) {
        return Error{"the challenge is not for this login (nonce)", "", 0};
    }
    if (iterations > iterations_max) {
        return Error{"asks for " + std::to_string(iterations) + " iterations, at most " +
                         std::to_string(iterations_max) + " are done",
                     "", 0};
    }
    const std::string key = salted(password_, salt, static_cast<int>(iterations));
    const std::string client_key = hmac_sha256(key, "Client Key");
    const std::string without_proof = "c=biws,r=" + std::string(nonce);  // biws: "n,,"
    const std::string message = first_bare_ + ',' + std::string(server_first) + ',' + without_proof;
    server_signature_ = hmac_sha256(hmac_sha256(key, "Server Key"), message);
    const std::string proof = xor_bytes(client_key, hmac_sha256(sha256(client_key), message));
    return without_proof + ",p=" + to_base64(proof);
}

Result<void> ScramSha256::check_server_final(std::string_view server_final) const {
    constexpr std::size_t signature_bytes = 32;
    const std::string signature = from_base64(take(server_final, 'v'), signature_bytes);
    if (server_signature_.empty() || !equal_secretly(signature, server_signature_)) {
        return Error{"the server's signature is wrong: it does not know the password", "", 0};
    }
    return {};
}

}  // namespace lbcluster::health
