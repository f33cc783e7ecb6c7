// RE-2: what a push carries comes out as it went in; what breaks a rule, lies about itself or points outside files/ is
// refused.
#include "replicator/parcel.hpp"

#include <gtest/gtest.h>

namespace lbcluster::replicator {
namespace {

config::Content content(const std::string& yaml, const std::map<std::string, std::string>& files = {}) {
    return {yaml, files};
}

config::Revision revision_of(const config::Content& content, const std::string& author = "anna") {
    config::Revision revision;
    revision.set_number(7);
    revision.set_digest(config::digest_of(content));
    revision.set_author(author);
    revision.set_time("2026-11-22T04:00:00.000Z");
    revision.set_reason("test");
    return revision;
}

class ReplicaParcel : public testing::Test {
  protected:
    void add(const config::Content& one, const std::string& author = "anna") {
        ASSERT_TRUE(add_to_offer(revision_of(one, author), one, offer_, contents_));
    }

    // Sends what is wanted; the number of pieces.
    int carry(Assembly& assembly) {
        auto source = PieceSource::make(contents_, assembly.want());
        EXPECT_TRUE(source);
        int pieces = 0;
        for (replica::Piece piece; source->next(piece); ++pieces) {
            const auto added = assembly.add(piece);
            EXPECT_TRUE(added) << added.error().message;
        }
        return pieces;
    }

    [[nodiscard]] std::string refusal() const {
        const auto assembly = Assembly::make(offer_, {});
        return assembly ? "" : assembly.error().message;
    }

    replica::Offer offer_;
    Contents contents_;
};

TEST_F(ReplicaParcel, RevisionsComeOutAsTheyWentIn) {
    const config::Content one = content("a: 1\n", {{"certs/a.pem", std::string(600'000, 'c')}, {"fallback.html", ""}});
    const config::Content two = content("a: 2\n", one.files);
    add(one);
    add(two, "bert");
    auto assembly = Assembly::make(offer_, {});
    ASSERT_TRUE(assembly) << assembly.error().message;
    EXPECT_EQ(carry(*assembly), 6) << "two texts, an empty page, and 600,000 bytes once in three pieces";
    ASSERT_TRUE(assembly->complete());
    const auto chain = assembly->finish();
    ASSERT_TRUE(chain);
    ASSERT_EQ(chain->size(), 2U);
    EXPECT_EQ(chain->front().content, one);
    EXPECT_EQ(chain->back().content, two);
    EXPECT_EQ(chain->back().revision.author(), "bert");
    EXPECT_EQ(key_of(chain->front().revision), key_of(revision_of(one)));
}

TEST_F(ReplicaParcel, WhatIsThereAlreadyIsNotSent) {
    add(content("a: 1\n", {{"certs/a.pem", "certificate"}}));
    auto assembly = Assembly::make(offer_, {{sha256("certificate"), "certificate"}});
    ASSERT_TRUE(assembly);
    EXPECT_EQ(assembly->want().sha256_size(), 1);
    carry(*assembly);
    ASSERT_TRUE(assembly->complete());
    EXPECT_EQ(assembly->finish()->back().content.files.at("certs/a.pem"), "certificate");
}

TEST_F(ReplicaParcel, NamesStayInsideFiles) {
    for (const char* good :
         {"cluster.yaml", "files/a", "files/certs/a.pem", "files/1/2/3/4", "files/...", "files/.a"}) {
        EXPECT_TRUE(is_file_name(good)) << good;
    }
    for (const std::string& bad :
         {std::string("files/../node.yaml"), std::string("files/"), std::string("files"), std::string("/etc/passwd"),
          std::string("files//a"), std::string("files/a/"), std::string("files/./a"), std::string("files/.."),
          std::string("node.yaml"), std::string("../cluster.yaml"), std::string("files/a\0b", 9), std::string(),
          "files/" + std::string(256, 'x'), std::string("files/1/2/3/4/5")}) {
        EXPECT_FALSE(is_file_name(bad)) << bad;
    }
    add(content("a: 1\n", {{"x", "1"}}));
    offer_.mutable_revisions(0)->mutable_files(1)->set_name("files/../node.yaml");
    EXPECT_NE(refusal().find("is no name of a file"), std::string::npos);
}

TEST_F(ReplicaParcel, AnOfferThatBreaksARuleIsRefused) {
    const auto with = [&](const std::function<void(replica::Offer&)>& change) {
        offer_.Clear();
        contents_.clear();
        add(content("a: 1\n", {{"x", "1"}, {"y", "2"}}));
        change(offer_);
        return refusal();
    };
    EXPECT_EQ(with([](replica::Offer&) {}), "");
    EXPECT_NE(with([](replica::Offer& o) { o.clear_revisions(); }), "");
    EXPECT_NE(with([](replica::Offer& o) { o.mutable_revisions(0)->set_digest("../x"); }), "");
    EXPECT_NE(with([](replica::Offer& o) { o.mutable_revisions(0)->set_time("soon"); }), "");
    EXPECT_NE(with([](replica::Offer& o) { o.mutable_revisions(0)->set_reason(std::string(5000, 'x')); }), "");
    EXPECT_NE(with([](replica::Offer& o) { o.mutable_revisions(0)->clear_files(); }), "");
    EXPECT_NE(with([](replica::Offer& o) { o.mutable_revisions(0)->mutable_files()->SwapElements(1, 2); }), "");
    EXPECT_NE(with([](replica::Offer& o) { o.mutable_revisions(0)->mutable_files(1)->set_name("cluster.yaml"); }), "");
    EXPECT_NE(with([](replica::Offer& o) { o.mutable_revisions(0)->mutable_files(1)->set_sha256("short"); }), "");
    EXPECT_NE(with([](replica::Offer& o) { o.mutable_revisions(0)->mutable_files(1)->set_bytes(1ULL << 40U); }), "");
    EXPECT_NE(with([](replica::Offer& o) {
                  for (int i = 1; i <= 2; ++i) o.mutable_revisions(0)->mutable_files(i)->set_bytes(9'000'000);
              }),
              "");
    EXPECT_NE(with([](replica::Offer& o) {
                  for (int i = 0; i < 100; ++i) *o.add_revisions() = o.revisions(0);
              }),
              "");
}

TEST_F(ReplicaParcel, PiecesThatAreNotWhatWasAnnouncedAreRefused) {
    add(content("a: 1\n"));
    const auto try_piece = [&](const std::string& data, bool last) {
        auto assembly = Assembly::make(offer_, {});
        replica::Piece piece;
        piece.set_data(data);
        piece.set_last(last);
        return assembly->add(piece).ok();
    };
    EXPECT_TRUE(try_piece("a: 1\n", true));
    EXPECT_FALSE(try_piece("a: 2\n", true)) << "another content";
    EXPECT_FALSE(try_piece("a: 1", true)) << "too short";
    EXPECT_FALSE(try_piece("a: 1\n\n", true)) << "too long";
    EXPECT_FALSE(try_piece("", false)) << "nothing, for ever";

    auto assembly = Assembly::make(offer_, {});
    carry(*assembly);
    EXPECT_FALSE(assembly->add(replica::Piece())) << "more than was wanted";
}

TEST_F(ReplicaParcel, ARevisionThatIsNotWhatItsDigestSaysIsRefused) {
    add(content("a: 1\n"));
    offer_.mutable_revisions(0)->set_digest(config::digest_of(content("a: 2\n")));
    auto assembly = Assembly::make(offer_, {});
    ASSERT_TRUE(assembly);
    carry(*assembly);
    EXPECT_FALSE(assembly->finish());
}

TEST_F(ReplicaParcel, WhatWasNotOfferedIsNotSent) {
    add(content("a: 1\n"));
    replica::Want want;
    want.add_sha256(sha256("secret"));
    EXPECT_FALSE(PieceSource::make(contents_, want));
    want.clear_sha256();
    for (int i = 0; i < 2; ++i) want.add_sha256(sha256("a: 1\n"));
    EXPECT_FALSE(PieceSource::make(contents_, want)) << "one thing again and again";
}

TEST_F(ReplicaParcel, AnOfferHasAnEnd) {
    for (int i = 0; i < offered_revisions_max; ++i) add(content("a: " + std::to_string(i) + "\n"));
    const config::Content more = content("b: 1\n");
    EXPECT_FALSE(add_to_offer(revision_of(more), more, offer_, contents_));
    EXPECT_EQ(refusal(), "");
}

}  // namespace
}  // namespace lbcluster::replicator
