// The secrets of a pair: STATE_DIR/keys/heartbeat.key, the same file on both nodes.
//
//   # comment
//   cluster: <32 hex digits>      which pair this is; not secret
//   key: <64 hex digits>          first one sends; all of them receive, so that a key can be changed without a gap
//
// Accepted only if nobody else can read or replace it: a regular file (no symbolic link) of root or of the own user
// without any right for group or others, in a folder that others cannot write to. Secrets are wiped when a ring goes
// away and never stand in a message. Blocking file access: for start-up, reload and the command line.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lbcluster/base/result.hpp"

namespace lbcluster {

// 256 bit of secret; wiped on destruction.
class Secret {
  public:
    Secret() = default;
    Secret(const Secret&) = default;
    Secret& operator=(const Secret&) = default;
    ~Secret();

    [[nodiscard]] std::span<std::uint8_t> bytes() { return bytes_; }
    [[nodiscard]] std::span<const std::uint8_t> bytes() const { return bytes_; }

  private:
    std::array<std::uint8_t, 32> bytes_{};
};

using KeyId = std::array<std::uint8_t, 4>;

class KeyRing {
  public:
    static constexpr std::size_t secrets_max = 4;
    static constexpr std::size_t file_bytes_max = 4096;

    // `where` is what messages call the text (the file's path).
    static Result<KeyRing> parse(std::string_view text, const std::string& where);
    static Result<KeyRing> load(const std::string& path);
    // A new cluster id and one new secret from the system's random numbers.
    static Result<KeyRing> generate();

    // Writes atomically, mode 0600, and makes the folder (0700) if it is missing. Error code EEXIST if there is such
    // a file and `overwrite` is not set.
    [[nodiscard]] Result<void> write(const std::string& path, bool overwrite) const;

    // The secrets of both, this ring's first; those of `other` that are new at the end. Cluster ids must be equal.
    [[nodiscard]] Result<KeyRing> plus(const KeyRing& other) const;
    // The secret that this ring sends with, alone.
    [[nodiscard]] KeyRing first_only() const;
    // A new secret for the same pair.
    [[nodiscard]] Result<KeyRing> successor() const;

    // What write() writes. A secret: whoever takes it wipes it.
    [[nodiscard]] std::string file_text() const;

    [[nodiscard]] std::span<const std::uint8_t, 16> cluster_id() const { return cluster_id_; }
    [[nodiscard]] std::string cluster_id_hex() const;
    [[nodiscard]] std::size_t size() const { return count_; }
    [[nodiscard]] std::span<const std::uint8_t> secret(std::size_t index) const;
    // Names a secret on the wire without telling it: the first bytes of SHA-256 over a label and the secret.
    [[nodiscard]] const KeyId& key_id(std::size_t index) const;
    // For people to compare two nodes' files: "SHA256:" and 32 hex digits over cluster id and all secrets.
    [[nodiscard]] std::string fingerprint() const;

  private:
    KeyRing() = default;
    [[nodiscard]] Result<void> add(std::string_view hex, const std::string& where);

    std::array<std::uint8_t, 16> cluster_id_{};
    std::array<Secret, secrets_max> secrets_;
    std::array<KeyId, secrets_max> key_ids_{};
    std::size_t count_ = 0;
};

// STATE_DIR/keys/heartbeat.key
std::string heartbeat_key_path(const std::string& state_dir);

}  // namespace lbcluster
