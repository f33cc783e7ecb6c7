#include "replicator/parcel.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "lbcluster/base/assert.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/base/utf8.hpp"

namespace lbcluster::replicator {

namespace {

constexpr std::size_t sha256_bytes = 32;
constexpr std::size_t key_bytes = 16;
constexpr std::size_t text_bytes_max = 4096;  // author, reason
constexpr std::size_t component_bytes_max = 255;
constexpr std::size_t components_max = 5;  // files/ and 4 below it
constexpr const char* yaml_name = "cluster.yaml";
constexpr std::string_view files_prefix = "files/";

Error broken(const std::string& what) {
    return {"the peer's offer cannot be used: " + what, "do both nodes have the same version of lbcluster?", EPROTO};
}

bool is_digest(const std::string& text) {
    return text.size() == 2 * sha256_bytes && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

Result<void> check_entry(const replica::RevisionEntry& entry) {
    if (!is_digest(entry.digest())) return broken("a revision without digest");
    if (entry.author().size() > text_bytes_max || entry.reason().size() > text_bytes_max) {
        return broken("an author or reason that is too long");
    }
    if (!parse_rfc3339(entry.time())) return broken("a revision of no time");
    if (entry.files_size() == 0 || entry.files(0).name() != yaml_name) return broken("a revision without cluster.yaml");
    if (static_cast<std::size_t>(entry.files_size()) > config::files_max + 1) return broken("too many files");
    std::size_t bytes = 0;
    for (int i = 0; i < entry.files_size(); ++i) {
        const replica::FileEntry& file = entry.files(i);
        if (!is_file_name(file.name())) return broken("'" + one_line(file.name()) + "' is no name of a file");
        // In order, as they are made: so none comes twice.
        if (i > 1 && file.name() <= entry.files(i - 1).name()) return broken("names of files that are not in order");
        if ((i == 0) != (file.name() == yaml_name)) return broken("two of cluster.yaml");
        if (file.sha256().size() != sha256_bytes) return broken("a file without SHA-256");
        const std::size_t bytes_max = i == 0 ? config::text_bytes_max : config::files_bytes_max;
        if (file.bytes() > bytes_max) return broken(file.name() + " is too large");
        if (i > 0) bytes += file.bytes();
    }
    if (bytes > config::files_bytes_max) return broken("files/ is too large");
    return {};
}

}  // namespace

std::string sha256(std::string_view bytes) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    LBC_ASSERT(EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1);
    return {reinterpret_cast<const char*>(digest.data()), length};
}

std::string key_of(const config::Revision& revision) {
    const std::string all =
        revision.digest() + '\0' + revision.author() + '\0' + revision.time() + '\0' + revision.reason();
    return sha256(all).substr(0, key_bytes);
}

bool is_file_name(std::string_view name) {
    if (name == yaml_name) return true;
    if (!name.starts_with(files_prefix) || name.find('\0') != std::string_view::npos) return false;
    std::size_t components = 1;
    for (std::size_t at = files_prefix.size(); at <= name.size(); ++components) {
        const std::size_t end = std::min(name.find('/', at), name.size());
        const std::string_view part = name.substr(at, end - at);
        if (part.empty() || part == "." || part == ".." || part.size() > component_bytes_max) return false;
        at = end + 1;
    }
    return components <= components_max;
}

bool add_to_offer(const config::Revision& revision, const config::Content& content, replica::Offer& offer,
                  Contents& contents) {
    if (offer.revisions_size() >= offered_revisions_max) return false;
    replica::RevisionEntry entry;
    entry.set_digest(revision.digest());
    entry.set_author(revision.author());
    entry.set_time(revision.time());
    entry.set_reason(revision.reason());
    Contents more;
    const auto add = [&](const std::string& name, const std::string& bytes) {
        replica::FileEntry& file = *entry.add_files();
        file.set_name(name);
        file.set_sha256(sha256(bytes));
        file.set_bytes(bytes.size());
        if (!contents.contains(file.sha256())) more.emplace(file.sha256(), bytes);
    };
    add(yaml_name, content.cluster_yaml);
    for (const auto& [name, bytes] : content.files) add(std::string(files_prefix) + name, bytes);
    std::size_t bytes = 0;
    for (const Contents* one : {&contents, &more}) {
        for (const auto& [sha, body] : *one) bytes += body.size();
    }
    // The entries themselves must fit in a frame beside the other's.
    if (bytes > offered_bytes_max || offer.ByteSizeLong() + entry.ByteSizeLong() > offered_bytes_max / 8) return false;
    *offer.add_revisions() = std::move(entry);
    contents.merge(more);
    return true;
}

// ---- the sender's side ----

Result<PieceSource> PieceSource::make(Contents contents, const replica::Want& want) {
    PieceSource source;
    for (const std::string& sha : want.sha256()) {
        if (!contents.contains(sha) || source.wanted_.size() >= contents.size()) {
            return Error{"the peer wants what was not offered", "", EPROTO};
        }
        source.wanted_.push_back(sha);
    }
    source.contents_ = std::move(contents);
    return source;
}

bool PieceSource::next(replica::Piece& piece) {
    if (at_ >= wanted_.size()) return false;
    const std::string& bytes = contents_.at(wanted_[at_]);
    const std::size_t size = std::min(piece_bytes_max, bytes.size() - done_bytes_);
    piece.set_data(bytes.substr(done_bytes_, size));
    done_bytes_ += size;
    piece.set_last(done_bytes_ == bytes.size());
    if (piece.last()) {
        ++at_;
        done_bytes_ = 0;
    }
    return true;
}

// ---- the receiver's side ----

Result<Assembly> Assembly::make(replica::Offer offer, const Contents& have) {
    if (offer.revisions_size() == 0) return broken("it is empty");
    if (offer.revisions_size() > offered_revisions_max) return broken("too many revisions");
    Assembly made;
    std::size_t bytes = 0;
    for (const replica::RevisionEntry& entry : offer.revisions()) {
        if (const auto right = check_entry(entry); !right) return right.error();
        for (const replica::FileEntry& file : entry.files()) {
            const auto [known, is_new] = made.bytes_.emplace(file.sha256(), file.bytes());
            if (!is_new && known->second != file.bytes()) return broken("one content of two lengths");
            if (!is_new) continue;
            bytes += file.bytes();
            if (bytes > offered_bytes_max) return broken("it is larger than 64 MiB");
            const auto here = have.find(file.sha256());
            if (here != have.end()) made.contents_.insert(*here);
            else made.missing_.push_back(file.sha256());
        }
    }
    made.offer_ = std::move(offer);
    return made;
}

replica::Want Assembly::want() const {
    replica::Want want;
    want.set_id(offer_.id());
    for (const std::string& sha : missing_) want.add_sha256(sha);
    return want;
}

Result<void> Assembly::add(const replica::Piece& piece) {
    if (complete()) return broken("more pieces than were wanted");
    const std::string& sha = missing_[at_];
    const std::size_t announced = bytes_.at(sha);
    if (piece.data().size() > announced - content_.size()) return broken("a content that is longer than announced");
    if (piece.data().empty() && !piece.last()) return broken("an empty piece");
    content_ += piece.data();
    if (!piece.last()) return {};
    if (content_.size() != announced || sha256(content_) != sha) return broken("a content that was damaged on the way");
    contents_.emplace(sha, std::move(content_));
    content_.clear();
    ++at_;
    return {};
}

Result<std::vector<config::Received>> Assembly::finish() {
    LBC_ASSERT(complete());
    std::vector<config::Received> chain;
    for (const replica::RevisionEntry& entry : offer_.revisions()) {
        config::Received one;
        one.revision.set_digest(entry.digest());
        one.revision.set_author(entry.author());
        one.revision.set_time(entry.time());
        one.revision.set_reason(entry.reason());
        for (const replica::FileEntry& file : entry.files()) {
            const std::string& bytes = contents_.at(file.sha256());
            if (file.name() == yaml_name) one.content.cluster_yaml = bytes;
            else one.content.files.emplace(file.name().substr(files_prefix.size()), bytes);
        }
        if (config::digest_of(one.content) != entry.digest()) return broken("a revision with a wrong digest");
        chain.push_back(std::move(one));
    }
    return chain;
}

}  // namespace lbcluster::replicator
