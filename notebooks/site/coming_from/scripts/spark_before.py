from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
plays = spark.read.parquet("plays.parquet")  # columns user, item, plays

als = ALS(
    userCol="user",
    itemCol="item",
    ratingCol="plays",
    implicitPrefs=True,
    rank=32,
    alpha=2.0,
    regParam=0.1,
    maxIter=15,
    seed=0,
    coldStartStrategy="drop",
)
model = als.fit(plays)
model.recommendForAllUsers(10).write.parquet("lists.parquet")
model.recommendForUserSubset(plays.select("user").where("user = 7"), 5).show()
model.save("model")
