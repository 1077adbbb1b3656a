-- How far is each batch?
-- One row for each batch and a last one, with NULL as its batch, for the library. A live track has features,
-- a recorded failure, or neither yet: `n_features_pending` and `n_embeddings_pending` are what the next
-- runs will do, and a batch is finished when both are 0.
SELECT
    batch,
    sum(n_live) AS n_live,
    sum(n_features) AS n_features,
    sum(n_feature_failures) AS n_feature_failures,
    sum(n_live - n_features - n_feature_failures) AS n_features_pending,
    sum(n_embeddings) AS n_embeddings,
    sum(n_embedding_failures) AS n_embedding_failures,
    sum(n_live - n_embeddings - n_embedding_failures) AS n_embeddings_pending,
    round(100 * sum(n_features) / nullif(sum(n_live), 0), 1) AS features_percent
FROM batches
GROUP BY ROLLUP (batch)
ORDER BY batch NULLS LAST;
