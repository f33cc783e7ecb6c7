#include "replicator/ssh/key_pair.hpp"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>
#include <vector>

#include "lbcluster/config/store.hpp"

namespace lbcluster::replicator::ssh {

namespace {

constexpr std::size_t key_bytes = 32;
constexpr std::size_t file_bytes_max = 4096;
constexpr const char* key_type = "ssh-ed25519";

Error errno_error(const std::string& what, int code) {
    return {what + ": " + std::system_category().message(code), code == EACCES ? "run it as root" : "", code};
}

// RFC 4251, 5.
void put_u32(std::string& out, std::size_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift & 0xFF));
}
void put_string(std::string& out, std::string_view text) {
    put_u32(out, text.size());
    out += text;
}

std::string base64(std::string_view bytes) {
    std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
    const int size =
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                        reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
    out.resize(static_cast<std::size_t>(size));
    return out;
}

// RFC 8709, 4.
std::string public_blob(std::string_view public_bytes) {
    std::string blob;
    put_string(blob, key_type);
    put_string(blob, public_bytes);
    return blob;
}

// OpenSSH's PROTOCOL.key.
std::string openssh_text(std::string_view public_bytes, std::string_view private_bytes, std::uint32_t check,
                         const std::string& comment) {
    std::string secret;
    put_u32(secret, check);
    put_u32(secret, check);
    put_string(secret, key_type);
    put_string(secret, public_bytes);
    put_string(secret, std::string(private_bytes) + std::string(public_bytes));
    put_string(secret, comment);
    for (char pad = 1; secret.size() % 8 != 0; ++pad) secret.push_back(pad);
    std::string all("openssh-key-v1\0", 15);
    put_string(all, "none");
    put_string(all, "none");
    put_string(all, "");
    put_u32(all, 1);
    put_string(all, public_blob(public_bytes));
    put_string(all, secret);
    std::string encoded = base64(all);
    std::string text = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
    for (std::size_t at = 0; at < encoded.size(); at += 70) text += encoded.substr(at, 70) + "\n";
    text += "-----END OPENSSH PRIVATE KEY-----\n";
    for (std::string* one : {&secret, &all, &encoded}) OPENSSL_cleanse(one->data(), one->size());
    return text;
}

Result<std::string> read_public_key(const std::string& path) {
    auto text = config::read_text(path);
    if (!text) return text.error();
    text->erase(text->find_last_not_of("\r\n") + 1);
    return checked_public_key(*text);
}

}  // namespace

Result<KeyPair> generate_key_pair(const std::string& comment) {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"),
                                                                  &EVP_PKEY_free);
    std::array<unsigned char, key_bytes> public_bytes{};
    std::array<unsigned char, key_bytes> private_bytes{};
    std::size_t public_size = public_bytes.size();
    std::size_t private_size = private_bytes.size();
    std::uint32_t check = 0;
    if (!key || EVP_PKEY_get_raw_public_key(key.get(), public_bytes.data(), &public_size) != 1 ||
        EVP_PKEY_get_raw_private_key(key.get(), private_bytes.data(), &private_size) != 1 ||
        RAND_bytes(reinterpret_cast<unsigned char*>(&check), sizeof check) != 1) {
        return Error{"OpenSSL makes no ed25519 key", "", EPROTO};
    }
    const std::string_view open(reinterpret_cast<const char*>(public_bytes.data()), key_bytes);
    const std::string_view closed(reinterpret_cast<const char*>(private_bytes.data()), key_bytes);
    KeyPair pair{openssh_text(open, closed, check, comment),
                 std::string(key_type) + " " + base64(public_blob(open)) + " " + comment};
    OPENSSL_cleanse(private_bytes.data(), private_bytes.size());
    return pair;
}

std::string private_key_path(const std::string& state_dir) { return state_dir + "/keys/replica"; }

Result<std::string> load_private_key(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0 && errno == ELOOP) return Error{path + ": is a symbolic link", "put the key itself there", ELOOP};
    if (file < 0) return errno_error("cannot open " + path, errno);
    const std::unique_ptr<const int, void (*)(const int*)> closer(&file, [](const int* one) { ::close(*one); });
    struct stat info{};
    if (::fstat(file, &info) != 0) return errno_error("cannot look at " + path, errno);
    if (!S_ISREG(info.st_mode)) return Error{path + ": is no regular file", "put the key itself there", EPERM};
    if (info.st_uid != 0 && info.st_uid != ::geteuid()) {
        return Error{path + ": belongs to another user", "chown root: " + path, EPERM};
    }
    if ((info.st_mode & 077U) != 0) {
        return Error{path + ": others may read or write this private key", "chmod 600 " + path, EPERM};
    }
    std::string text(file_bytes_max + 1, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t got = ::read(file, text.data() + size, text.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno_error("cannot read " + path, errno);
        if (got == 0) break;
        size += static_cast<std::size_t>(got);
    }
    if (size > file_bytes_max) return Error{path + ": too large for a key", "", EMSGSIZE};
    text.resize(size);
    return text;
}

Result<KeyPair> own_key_pair(const std::string& state_dir, const std::string& node) {
    const std::string path = private_key_path(state_dir);
    auto kept = load_private_key(path);
    if (kept) {
        const auto open = read_public_key(path + ".pub");
        if (!open) return open.error();
        return KeyPair{std::move(*kept), *open};
    }
    if (kept.error().code != ENOENT) return kept.error();
    auto pair = generate_key_pair("lbcluster@" + node);
    if (!pair) return pair;
    if (::mkdir(state_dir.c_str(), 0755) != 0 && errno != EEXIST) return errno_error("cannot make " + state_dir, errno);
    const std::string folder = state_dir + "/keys";
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return errno_error("cannot make " + folder, errno);
    // The private one last: while there is none, both are made anew.
    auto done = config::write_atomically(path + ".pub", pair->public_key + "\n", 0644);
    if (done) done = config::write_atomically(path, pair->private_key, 0600);
    if (!done) return done.error();
    return pair;
}

Result<std::string> checked_public_key(const std::string& line) {
    const Error bad{"this is no public key: it must be one line 'ssh-ed25519 AAAA...'", "", EINVAL};
    const std::string start = std::string(key_type) + " ";
    if (!line.starts_with(start)) return bad;
    const std::string encoded = line.substr(start.size(), line.find(' ', start.size()) - start.size());
    if (encoded.size() != 68 || encoded.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                                          "0123456789+/") != std::string::npos) {
        return bad;
    }
    return start + encoded;
}

}  // namespace lbcluster::replicator::ssh
