"""List names, what their scores mean, and the bounded sorted lists themselves.

The notes stage tells scores, the lists stage keeps them sorted, the feed reads the heads. A list lives under ``hash64(name)``; its
head is `store.layout.HEAD`, best first, ties by the smaller hash. Scores are comparable inside one kind of list only, and are
float32 from the moment they are told. Every list holds *published* notes only.

=============================  ==========================  =====================================================================
list                           score                       who is in it
=============================  ==========================  =====================================================================
``tag:<tag>``                  popularity                  public notes with that tag (the author's own, the first [notes] tags)
``channel:<c>``                popularity                  public notes of that channel or below: `beauty/skincare` is in
                                                           ``channel:beauty/skincare`` and ``channel:beauty``
``city:<city>``                popularity                  public notes of that city
``geo:<level>:<row>:<col>``    popularity                  public notes with a place in that cell; see `cell` and `covering`
``author:<author id>``         recency                     public and followers-only notes of that author: check `visibility`
``hot``                        hot                         public notes with any engagement; one note per author
``hot:channel:<c>``            hot                         the same, for a channel and each prefix of it
``hot:city:<city>``            hot                         the same, for a city
``pool:<tier>``                placement                   public notes that run in that tier and still want exposures
``pool:<tier>:<top channel>``  placement                   the same, by the first segment of the channel
=============================  ==========================  =====================================================================

**popularity** = log2(S + seed · 2^x(published_at)) + quality_bits · z: S are forward-decayed engagement points at the half-life
``[lists] popular_half_life_h``, x(t) = (t - EPOCH) / half-life, z the mean of the note's quality. A note begins with `seed` points at
its publication, so that popularity, freshness and quality meet in one number whose order needs no sweep: everything halves together.
Subtract x(now) and take 2^ to have points as of now.

**hot** = log2(r) + x(last exposure), r = (C + k m) / (E + k): C and E are the CES and the exposures decayed to the last exposure at
the half-life ``[lists] hot_half_life_h``, m and k the prior rate and its weight in exposures. Nothing in it moves while nothing happens; exposure alone
lowers r; a note that is shown no more loses one bit a half-life against those that are.

**recency** = seconds from EPOCH to `published_at` (float32: 16 s steps; the note record has the exact time).

**placement** = the order inside a pool tier, from `models.pool`: higher is served first, with sampling by the feed.

EPOCH is 2020-01-01 UTC: near enough that float32 tells scores apart, before and after it alike.
"""

from __future__ import annotations
