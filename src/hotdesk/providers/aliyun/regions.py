"""The regions of Alibaba Cloud.

The front doors of its API may stand elsewhere than the region; its storage does not.
"""

from hotdesk.core.clouds import Regions

HOME = "cn-hangzhou"  # unless another is configured

REGIONS = Regions(
    host="oss-{region}.aliyuncs.com",
    cities={
        "ap-northeast-1": "Tokyo",
        "ap-northeast-2": "Seoul",
        "ap-southeast-1": "Singapore",
        "ap-southeast-3": "Kuala Lumpur",
        "ap-southeast-5": "Jakarta",
        "ap-southeast-6": "Manila",
        "ap-southeast-7": "Bangkok",
        "cn-beijing": "Beijing",
        "cn-chengdu": "Chengdu",
        "cn-guangzhou": "Guangzhou",
        "cn-hangzhou": "Hangzhou",
        "cn-heyuan": "Heyuan",
        "cn-hongkong": "Hong Kong",
        "cn-huhehaote": "Hohhot",
        "cn-qingdao": "Qingdao",
        "cn-shanghai": "Shanghai",
        "cn-shenzhen": "Shenzhen",
        "cn-wulanchabu": "Ulanqab",
        "cn-zhangjiakou": "Zhangjiakou",
        "eu-central-1": "Frankfurt",
        "eu-west-1": "London",
        "me-central-1": "Riyadh",
        "me-east-1": "Dubai",
        "na-south-1": "Mexico",
        "us-east-1": "Virginia",
        "us-west-1": "Silicon Valley",
    },
)
