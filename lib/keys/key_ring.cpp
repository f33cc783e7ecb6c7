#include "lbcluster/keys/key_ring.hpp"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <system_error>

#include "lbcluster/base/descriptor.hpp"

namespace lbcluster {

namespace {

using Bytes = std::span<const std::uint8_t>;
using Digest = std::array<std::uint8_t, 32>;

// Text with secrets in it: fixed size, so that no reallocation leaves a copy behind, and wiped.
struct SecretText {
    std::array<char, KeyRing::file_bytes_max + 1> bytes{};
    std::size_t size = 0;
    SecretText() = default;
    SecretText(const SecretText&) = delete;
    SecretText& operator=(const SecretText&) = delete;
    ~SecretText() { OPENSSL_cleanse(bytes.data(), bytes.size()); }

    void append(std::string_view text) {
        LBC_ASSERT(size + text.size() <= bytes.size());
        std::memcpy(bytes.data() + size, text.data(), text.size());
        size += text.size();
    }
    void append_hex(Bytes data) {
        constexpr std::string_view digits = "0123456789abcdef";
        for (const std::uint8_t b : data) {
            append(digits.substr(b >> 4, 1));
            append(digits.substr(b & 0x0f, 1));
        }
    }
};

Error errno_error(const std::string& what, int code) {
    return Error{what + ": " + std::system_category().message(code), "", code};
}

Digest sha256(std::initializer_list<Bytes> parts) {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    LBC_ASSERT(context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1);
    for (const Bytes part : parts) LBC_ASSERT(EVP_DigestUpdate(context, part.data(), part.size()) == 1);
    Digest digest;
    LBC_ASSERT(EVP_DigestFinal_ex(context, digest.data(), nullptr) == 1);
    EVP_MD_CTX_free(context);
    return digest;
}

Bytes bytes_of(std::string_view text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }

bool all_zero(Bytes data) {
    return std::all_of(data.begin(), data.end(), [](std::uint8_t b) { return b == 0; });
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool parse_hex(std::string_view text, std::span<std::uint8_t> out) {
    if (text.size() != out.size() * 2) return false;
    for (std::size_t i = 0; i < out.size(); ++i) {
        const int high = hex_digit(text[2 * i]);
        const int low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = static_cast<std::uint8_t>(high << 4 | low);
    }
    return true;
}

std::string hex(Bytes data) {
    std::string text;
    std::array<char, 3> pair{};
    for (const std::uint8_t b : data) {
        std::snprintf(pair.data(), pair.size(), "%02x", b);
        text += pair.data();
    }
    return text;
}

std::string_view trim(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string folder_of(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

bool is_ours(const struct stat& status) { return status.st_uid == 0 || status.st_uid == ::geteuid(); }

Result<void> check_folder(const std::string& folder, const struct stat& status) {
    if (!is_ours(status)) {
        return Error{folder + ": belongs to user " + std::to_string(status.st_uid) + ", who could replace the key",
                     "chown root " + folder, EPERM};
    }
    if ((status.st_mode & 022U) != 0) {
        return Error{folder + ": others may write to this folder and could replace the key", "chmod 700 " + folder,
                     EPERM};
    }
    return {};
}

Result<void> check_file(const std::string& path, const struct stat& status) {
    if (!S_ISREG(status.st_mode)) {
        return Error{path + ": is not a regular file", "put the key itself there; links are not followed", EINVAL};
    }
    if (!is_ours(status)) {
        return Error{path + ": belongs to user " + std::to_string(status.st_uid), "chown root " + path, EPERM};
    }
    if ((status.st_mode & 077U) != 0) {
        return Error{path + ": group or others have rights on this secret", "chmod 600 " + path, EPERM};
    }
    return {};
}

Result<void> write_all(int fd, std::string_view text, const std::string& path) {
    while (!text.empty()) {
        const ssize_t n = ::write(fd, text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return errno_error("cannot write " + path, n < 0 ? errno : EIO);
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    if (::fsync(fd) != 0) return errno_error("cannot write " + path + " to disk", errno);
    return {};
}

}  // namespace

Secret::~Secret() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

Result<void> KeyRing::add(std::string_view hex_text, const std::string& where) {
    if (count_ == secrets_max) {
        return Error{where + ": more than " + std::to_string(secrets_max) + " keys", "remove the oldest ones", 0};
    }
    Secret& secret = secrets_.at(count_);
    if (!parse_hex(hex_text, secret.bytes())) {
        return Error{where + ": a key is 64 hexadecimal digits", "make one by: lbcluster key generate", 0};
    }
    if (all_zero(secret.bytes())) {
        return Error{where + ": this is the example key of the manual, which everybody knows",
                     "make an own one by: lbcluster key generate", 0};
    }
    for (std::size_t i = 0; i < count_; ++i) {
        if (CRYPTO_memcmp(secret.bytes().data(), secrets_.at(i).bytes().data(), secret.bytes().size()) == 0) {
            return Error{where + ": the same key twice", "remove this line", 0};
        }
    }
    const Digest digest = sha256({bytes_of("lbcluster heartbeat key id v1"), secret.bytes()});
    std::copy_n(digest.begin(), key_ids_.at(count_).size(), key_ids_.at(count_).begin());
    ++count_;
    return {};
}

Result<KeyRing> KeyRing::parse(std::string_view text, const std::string& where) {
    KeyRing ring;
    bool have_cluster = false;
    for (std::size_t number = 1; !text.empty(); ++number) {
        const auto end = text.find('\n');
        const std::string_view line = trim(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (line.empty() || line.front() == '#') continue;
        const std::string at = where + ":" + std::to_string(number);
        const auto colon = line.find(':');
        const std::string_view name = line.substr(0, colon);
        const std::string_view value = colon == std::string_view::npos ? "" : trim(line.substr(colon + 1));
        if (name == "cluster") {
            if (have_cluster) return Error{at + ": a second cluster id", "remove this line", 0};
            if (!parse_hex(value, ring.cluster_id_) || all_zero(ring.cluster_id_)) {
                return Error{at + ": a cluster id is 32 hexadecimal digits, not all zero",
                             "make one by: lbcluster key generate", 0};
            }
            have_cluster = true;
        } else if (name == "key") {
            if (auto added = ring.add(value, at); !added) return added.error();
        } else {
            // The line itself is not shown: it may be a secret whose name was mistyped.
            return Error{at + ": neither 'cluster: ...' nor 'key: ...'", "comments begin with #", 0};
        }
    }
    if (!have_cluster) return Error{where + ": no line 'cluster: <32 hex digits>'", "lbcluster key generate", 0};
    if (ring.count_ == 0) return Error{where + ": no line 'key: <64 hex digits>'", "lbcluster key generate", 0};
    return ring;
}

Result<KeyRing> KeyRing::load(const std::string& path) {
    const std::string folder = folder_of(path);
    const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.get() < 0) {
        const int code = errno;
        return Error{"cannot open " + folder + ": " + std::system_category().message(code),
                     code == ENOENT ? "make a key by: lbcluster key generate" : "", code};
    }
    struct stat status{};
    if (::fstat(directory.get(), &status) != 0) return errno_error("cannot look at " + folder, errno);
    if (auto fine = check_folder(folder, status); !fine) return fine.error();

    // O_NONBLOCK: a pipe in its place must not hang the daemon.
    const std::string name = path.substr(path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1);
    const Descriptor file(
        ::openat(directory.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (file.get() < 0) {
        const int code = errno;
        if (code == ELOOP) return Error{path + ": is a symbolic link", "put the key itself there", code};
        return Error{"cannot open " + path + ": " + std::system_category().message(code),
                     code == ENOENT ? "make a key by: lbcluster key generate, or copy the peer's" : "", code};
    }
    if (::fstat(file.get(), &status) != 0) return errno_error("cannot look at " + path, errno);
    if (auto fine = check_file(path, status); !fine) return fine.error();

    SecretText text;
    for (;;) {
        const ssize_t n = ::read(file.get(), text.bytes.data() + text.size, text.bytes.size() - text.size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno_error("cannot read " + path, errno);
        if (n == 0) break;
        text.size += static_cast<std::size_t>(n);
        if (text.size > file_bytes_max) {
            return Error{path + ": larger than " + std::to_string(file_bytes_max) + " bytes, so no key file", "", 0};
        }
    }
    return parse({text.bytes.data(), text.size}, path);
}

Result<KeyRing> KeyRing::generate() {
    KeyRing ring;
    Secret secret;
    if (RAND_bytes(ring.cluster_id_.data(), static_cast<int>(ring.cluster_id_.size())) != 1 ||
        RAND_priv_bytes(secret.bytes().data(), static_cast<int>(secret.bytes().size())) != 1) {
        return Error{"the system has no random numbers for a key", "is /dev/urandom there?", 0};
    }
    SecretText text;
    text.append_hex(secret.bytes());
    if (auto added = ring.add({text.bytes.data(), text.size}, "new key"); !added) return added.error();
    return ring;
}

Result<KeyRing> KeyRing::plus(const KeyRing& other) const {
    LBC_ASSERT(cluster_id_ == other.cluster_id_);
    KeyRing both = *this;
    for (std::size_t i = 0; i < other.count_; ++i) {
        bool known = false;
        for (std::size_t j = 0; j < both.count_; ++j) {
            known = known || CRYPTO_memcmp(both.secret(j).data(), other.secret(i).data(), other.secret(i).size()) == 0;
        }
        if (known) continue;
        SecretText text;
        text.append_hex(other.secret(i));
        if (auto added = both.add({text.bytes.data(), text.size}, "the keys"); !added) return added.error();
    }
    return both;
}

KeyRing KeyRing::first_only() const {
    LBC_ASSERT(count_ > 0);
    KeyRing one;
    one.cluster_id_ = cluster_id_;
    one.secrets_[0] = secrets_[0];
    one.key_ids_[0] = key_ids_[0];
    one.count_ = 1;
    return one;
}

Result<KeyRing> KeyRing::successor() const {
    auto made = generate();
    if (made) made->cluster_id_ = cluster_id_;
    return made;
}

std::string KeyRing::file_text() const {
    SecretText text;
    text.append(
        "# The heartbeat's key: who has it can speak for either node. The same file on both nodes, mode 0600.\n");
    text.append("# The first key sends; every key here is accepted.\n");
    text.append("cluster: ");
    text.append_hex(cluster_id_);
    for (std::size_t i = 0; i < count_; ++i) {
        text.append("\nkey: ");
        text.append_hex(secret(i));
    }
    text.append("\n");
    return {text.bytes.data(), text.size};
}

Result<void> KeyRing::write(const std::string& path, bool overwrite) const {
    const std::string folder = folder_of(path);
    std::error_code made;
    const auto above = std::filesystem::path(folder).parent_path();
    if (!above.empty()) std::filesystem::create_directories(above, made);
    if (made) return errno_error("cannot make " + above.string(), made.value());
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return errno_error("cannot make " + folder, errno);
    const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.get() < 0) return errno_error("cannot open " + folder, errno);
    struct stat status{};
    if (::fstat(directory.get(), &status) != 0) return errno_error("cannot look at " + folder, errno);
    if (auto fine = check_folder(folder, status); !fine) return fine;

    std::string text = file_text();
    const std::string temporary = path + ".new." + std::to_string(::getpid());
    ::unlink(temporary.c_str());  // of a process that died with the same number
    Result<void> written;
    {
        const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (file.get() < 0) return errno_error("cannot make " + temporary, errno);
        written = write_all(file.get(), text, temporary);
    }
    OPENSSL_cleanse(text.data(), text.size());
    if (written) {
        const unsigned flags = overwrite ? 0 : RENAME_NOREPLACE;
        if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), flags) != 0) {
            written = errno == EEXIST ? Result<void>(Error{path + ": there is a key already", "", EEXIST})
                                      : Result<void>(errno_error("cannot put " + path + " in place", errno));
        }
    }
    if (!written) {
        ::unlink(temporary.c_str());
        return written;
    }
    if (::fsync(directory.get()) != 0) return errno_error("cannot write " + folder + " to disk", errno);
    return {};
}

std::string KeyRing::cluster_id_hex() const { return hex(cluster_id_); }

std::span<const std::uint8_t> KeyRing::secret(std::size_t index) const {
    LBC_ASSERT(index < count_);
    return secrets_.at(index).bytes();
}

const KeyId& KeyRing::key_id(std::size_t index) const {
    LBC_ASSERT(index < count_);
    return key_ids_.at(index);
}

std::string KeyRing::fingerprint() const {
    static_assert(secrets_max == 4);
    // Unused secrets are all zero and cannot be mistaken for a used one, which is never zero.
    const Digest digest = sha256({bytes_of("lbcluster heartbeat fingerprint v1"), cluster_id_, secrets_[0].bytes(),
                                  secrets_[1].bytes(), secrets_[2].bytes(), secrets_[3].bytes()});
    return "SHA256:" + hex(Bytes(digest).first(16));
}

std::string heartbeat_key_path(const std::string& state_dir) { return state_dir + "/keys/heartbeat.key"; }

}  // namespace lbcluster
